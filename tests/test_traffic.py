"""The traffic lab promises to tell the truth: who waited behind whom, and for how long."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from kernel import Kernel
from lab.traffic import Measured
from lab.traffic.picture import compose

FOLDER = "05_add_column"
OPEN = f'from lab import lesson\nhere = lesson("{FOLDER}")'
# Locks the table of orders for two seconds, as a migration would.
LOCK = 'psql -q -c "BEGIN; LOCK TABLE orders; SELECT pg_sleep(2); COMMIT" > out.txt'
COUNTS = "print(len(run.blocked), len(run.failed), len(run.requests), run.blocked_for, run.slowest)"


@pytest.fixture(scope="module")
def kernel(home):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LAB_TRAFFIC_SECONDS", "4")
        kernel = Kernel()
        yield kernel
        kernel.close()


def run(kernel, command: str, **options) -> tuple[str, list[float]]:
    """Run a command under traffic in a fresh lesson; what is told, and the figures of COUNTS."""
    kernel.run(OPEN)
    told = kernel.run(f"run = here.traffic({command!r}, **{options!r})\nprint(run)").partition("[##########]\n")[2]
    return told, [float(figure) for figure in kernel.run(COUNTS).split()]


def ours(home: Path) -> set[int]:
    """The processes that work for a lesson of this home, but for the server; not those of other work beside."""
    found = set()
    for process in psutil.process_iter(["cmdline", "cwd", "environ"]):
        line = " ".join(process.info["cmdline"] or [])
        serves = "traffic/driver.py" in line or "waitress" in line
        at_home = (process.info["environ"] or {}).get("LAB_HOME") == str(home)
        if (serves and at_home) or str(home / "work") in (process.info["cwd"] or ""):
            found.add(process.pid)
    return found


def test_without_a_migration_nobody_is_blocked(kernel):
    told, (blocked, failed, requests, blocked_for, slowest) = run(kernel, "true")
    assert told == "exit code 0\nblocked    nobody\nfailed     no request\n"
    assert (blocked, failed, requests, blocked_for) == (0, 0, 160, 0)
    assert slowest < 1


def test_a_lock_held_for_a_known_time_is_measured_within_a_tenth(kernel):
    told, (blocked, failed, _, blocked_for, slowest) = run(kernel, LOCK)
    assert told.splitlines() == [
        "exit code 0",
        "held       ACCESS EXCLUSIVE on orders",
        "blocked    requests of visitors",
        "failed     no request",
    ]
    assert 1.8 <= blocked_for <= 2.2
    assert 1.8 <= slowest <= 2.5  # those that queue behind the blocked ones come after them
    assert blocked >= 10 and failed == 0


def test_a_lock_that_is_let_go_and_taken_again_was_not_held_in_between(kernel):
    lock = '-c "BEGIN; LOCK TABLE orders; SELECT pg_sleep(0.3); COMMIT"'
    told, _ = run(kernel, f'psql -q {lock} -c "SELECT pg_sleep(1.5)" {lock} > out.txt')
    assert told == "exit code 0\nblocked    nobody\nfailed     no request\n"
    first, last = kernel.run("print(*run.held['migration', 'AccessExclusiveLock', 'orders'])").split()
    assert 0.1 < float(last) - float(first) < 1


def test_visitors_keep_coming_while_others_wait(kernel):
    _, (blocked, _, requests, *_) = run(kernel, LOCK)
    assert requests == 160  # 40 a second for 4 seconds
    assert blocked >= 10  # who sends one request after the other has one that waits


def test_whom_another_session_blocks_is_not_counted_against_the_migration(kernel):
    told, (blocked, _, _, _, slowest) = run(kernel, "true", beside="LOCK TABLE orders")
    assert blocked == 0 and slowest > 1.8
    assert "blocked    nobody" in told


def test_who_waits_in_the_queue_behind_a_waiting_migration_is_blocked_by_it(kernel):
    told, (blocked, *_) = run(
        kernel, 'psql -q -c "ALTER TABLE orders ADD note text"', beside="SELECT count(*) FROM orders"
    )
    assert "waited     for ACCESS EXCLUSIVE on orders, behind report" in told
    assert blocked >= 10


def test_a_migration_that_starts_late_still_has_to_wait_for_the_session_beside(kernel):
    late = 'sleep 3; psql -q -c "ALTER TABLE orders ADD later text"'
    told, (blocked, *_) = run(kernel, late, beside="SELECT count(*) FROM orders")
    assert "waited     for ACCESS EXCLUSIVE on orders, behind report" in told
    assert blocked >= 10


def test_the_session_beside_ends_also_where_a_migration_never_stands_in_the_queue(kernel):
    asks = 'psql -q -c "BEGIN; LOCK TABLE orders NOWAIT; COMMIT" 2> out.txt'
    told, (blocked, *_) = run(kernel, f"until {asks}; do sleep 0.2; done", beside="SELECT count(*) FROM orders")
    assert told == "exit code 0\nblocked    nobody\nfailed     no request\n" and blocked == 0


def test_whom_a_waiting_migration_met_in_passing_is_not_told():
    def look(number, *ahead):
        waits = ("migration", 1, "then", "active", "CREATE INDEX", [2, *ahead], "ShareLock", "virtualxid", number / 20)
        others = [(name, pid, "then", "active", "UPDATE", [], None, None, None) for name, pid in OTHERS.items()]
        return number / 20, [waits, *others], []

    looks = [look(0, OTHERS["website"]), *(look(number) for number in range(1, 40))]
    run = Measured("", [(0, 0, "GET", 200)], looks, {"exit_code": 0}, 3)
    assert "waited     for SHARE on virtualxid, behind report\n" in repr(run)
    assert run.waits[0].behind == {"report", "website"}


OTHERS = {"report": 2, "website": 3}


def test_the_picture_shows_each_request_and_who_ran_and_waited_the_bad_run_above_the_good_one():
    def look(moment):
        sessions = [
            ("migration", 1, "then", "active", "ALTER TABLE orders", [], None, None, None),
            ("website", 2, "then", "active", "SELECT", [1], "AccessShareLock", "orders", moment - 1),
        ]
        return moment, sessions, []

    visits = [(0.5, 0.01, "GET", 200), (1, 2.5, "GET", 200), (1.5, 2, "POST", 200), (2, 0.3, "POST", 500)]
    command = {"exit_code": 0, "began": 1, "ended": 3}
    bad = Measured("quick", visits, [look(1 + number / 20) for number in range(41)], command, 6)
    good = Measured("careful", visits[:1], [], command, 5)
    above, who, below, nobody = compose([bad, good]).axes

    assert above.get_title(loc="left") == "quick: 2 of 4 requests took over 0.5 s, the slowest 2.5 s; 1 failed"
    assert below.get_title(loc="left").startswith("careful: 0 of 1 requests")
    assert above.get_xlim() == below.get_xlim() == who.get_xlim() == (0, 6)
    assert above.get_ylim() == below.get_ylim()
    drawn = {line.get_label(): line.get_xydata().tolist() for line in above.lines}
    assert drawn == {"page": [[0.5, 0.01], [1, 2.5]], "order": [[1.5, 2]], "failed": [[2, 0.3]]}

    lanes = dict(zip((label.get_text().split()[0] for label in who.get_yticklabels()), who.get_yticks(), strict=True))
    assert list(lanes) == ["migration", "visitors"]
    for lane in lanes:  # the migration worked, and the visitor was blocked, from second 1 to 3
        assert (lanes[lane], 1, 3) in bars(who)
    assert [text.get_text() for text in who.texts] == ["ALTER TABLE orders"]
    assert {place for place, *_ in bars(nobody)} == {lanes["migration"]}  # of the command alone


def bars(axes) -> list[tuple[float, float, float]]:
    """The bars in lanes: the lane's height, and from when until when."""
    boxes = [path.get_extents() for drawn in axes.collections for path in drawn.get_paths()]
    return [(round((box.y0 + box.y1) / 2, 6), round(box.x0, 6), round(box.x1, 6)) for box in boxes]


def test_requests_that_fail_are_counted(kernel):
    told, (_, failed, *_) = run(kernel, 'psql -q -c "ALTER TABLE orders RENAME status TO state"')
    assert failed > 10 and "failed     requests of visitors" in told


def test_versions_serve_side_by_side(kernel):
    told, (_, failed, *_) = run(kernel, "true", versions=("HEAD", "main"))
    assert "served     HEAD and main\n" in told and failed == 0
    assert kernel.run("print(run.asked)") == "[81, 79]\n"  # in turn, three requests each


def test_a_version_that_is_deployed_serves_beside_once_the_command_has_succeeded(kernel):
    told, (_, failed, requests, *_) = run(kernel, "sleep 1", versions=("HEAD",), deploy="")
    assert "served     HEAD, then the files as they are beside\n" in told and failed == 0
    before, after = (int(count) for count in kernel.run("print(*run.asked)").split())
    assert before + after == requests
    # alone until the command has ended, in the third second; then both in turn, three requests each, for two seconds
    assert before - after >= 2 * 40 - 3
    assert after >= 2 * 40 / 2 - 3


def test_after_a_command_that_fails_nothing_is_deployed(kernel):
    told, _ = run(kernel, "false", versions=("HEAD",), deploy="main")
    assert "served     HEAD\n" in told
    assert kernel.run("print(run.asked)") == "[160, 0]\n"


def test_orders_are_shown_to_visitors(kernel):
    """What one version writes is read by the other, so that it fails where it cannot read it."""
    run(kernel, "true")
    shown = "SELECT count(*) FROM orders WHERE id > 500 AND customer_id % 3 = 0 AND customer_id < 30"
    assert int(kernel.run(f"print(here.sql({shown!r}))").splitlines()[2]) >= 12  # of 16


def test_a_command_that_fails_is_told_in_its_own_words(kernel):
    told, _ = run(kernel, "flask db upgrade nonsense")
    assert told.startswith("exit code 1\nError: Can't locate revision identified by 'nonsense'\n")


def test_sql_that_postgresql_refuses_is_told(kernel):
    kernel.run(OPEN)
    with pytest.raises(AssertionError, match=r'Problem: PostgreSQL refuses: relation "nothing" does not exist'):
        kernel.run('here.traffic("true", beside="SELECT * FROM nothing")')


def end_the_session(name: str) -> str:
    return f"""psql -qc "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'" """


def test_a_session_beside_that_somebody_ends_is_told(kernel):
    told, _ = run(kernel, f"{end_the_session('report')} > out.txt", beside="SELECT count(*) FROM orders")
    assert "ended      the session beside, before its time" in told


def test_a_run_that_cannot_look_at_the_server_says_so(kernel):
    kernel.run(OPEN)
    with pytest.raises(AssertionError, match=r"PostgreSQL refuses: (terminating|server closed the) connection"):
        kernel.run(f"here.traffic({end_the_session('watcher')!r})")


@pytest.mark.parametrize("after", [0.3, 2])
def test_an_interrupt_ends_everything(kernel, home, after):
    before = ours(home)
    kernel.run(OPEN)
    threading.Timer(after, kernel.interrupt).start()
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        kernel.run('here.traffic("sleep 60")')
    assert gone(home, before)


def test_nothing_outlives_a_killed_kernel(home):
    before, kernel = ours(home), Kernel()
    kernel.run(OPEN)
    kernel.client.execute('here.traffic("touch began; sleep 60")')
    while not (home / "work" / FOLDER / "began").exists():
        time.sleep(0.1)
    assert len(ours(home) - before) >= 3
    os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)
    assert gone(home, before)
    kernel.close()


def gone(home: Path, before: set[int]) -> bool:
    deadline = time.monotonic() + 10
    while ours(home) - before and time.monotonic() < deadline:
        time.sleep(0.1)
    return not ours(home) - before
