"""Measure side by side what the course promises of speed: `make bench`, or `python tests/bench.py PART ...`.

Every comparison alternates in one run, since machines differ and are busy at times: what counts is the ratio. CPU is
that of the whole machine, the server's included, so let nothing else run meanwhile. The parts, all unless some are
named:
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import nbformat
import psutil
from homes import NOTEBOOKS, home_of_its_own, lab
from kernel import Kernel

COURSE = NOTEBOOKS.parent
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
UNDER_TRAFFIC = ("15", "16", "17")  # their time is that of the load
CORE = [path for path in LESSONS if path.name[:2] <= "07"]
NBMAKE = "nbmake==1.5.5"  # for the comparison only
ROUNDS = 3


def compare(what: str, aim: str, rounds: int, **ways) -> None:
    """Run the ways in turn, and print for each the median of wall time and CPU, with the ratio to the last one."""
    taken = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            print(f"\r{what}: {name}, round {number + 1} of {rounds} ".ljust(70), end="", flush=True)
            busy, start = busy_seconds(), time.monotonic()
            way()
            taken[name].append((time.monotonic() - start, busy_seconds() - busy))
    medians = {name: [median(column) for column in zip(*times, strict=True)] for name, times in taken.items()}
    base = list(medians.values())[-1]
    print(f"\r{what} ({aim})".ljust(70))
    for name, (wall, cpu) in medians.items():
        print(f"  {name:<26}{wall:8.2f} s {wall / base[0]:6.2f}   cpu {cpu:8.2f} s {cpu / max(base[1], 0.01):6.2f}")


def busy_seconds() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def pytest(*arguments: str, **variables: str) -> None:
    """Run notebooks as tests; one that fails ends the measurement."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    result = subprocess.run(command, cwd=COURSE, env={**os.environ, **variables}, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"\n{' '.join(command)}\n{result.stdout[-3000:]}{result.stderr[-1000:]}")


def nbval(paths: list[Path], *arguments: str, **variables: str) -> None:
    pytest("--nbval", *arguments, *map(str, paths), **variables)


def command() -> None:
    """one command, warm against cold and against its SQL through psql"""
    with home_of_its_own(), closing(Kernel()) as kernel:
        kernel.run('import os\nfrom lab import lesson\nhere = lesson("05_add_column")')
        kernel.run("socket = os.environ['LAB_WARM_SOCKET']")
        kernel.run("!flask db downgrade --sql e2062c5f334d:d1aec552451b 2> /dev/null > back.sql")
        kernel.run("!flask db upgrade --sql d1aec552451b:e2062c5f334d 2> /dev/null > up.sql")

        def run(line: str, warm: bool = True) -> None:
            kernel.run(f"os.environ['LAB_WARM_SOCKET'] = socket if {warm} else ''")
            assert kernel.run(f"!({line}) > out.txt 2>&1\nprint(_exit_code)") == "0\n"

        for line, sql in (
            ("flask db current", 'psql -c "SELECT version_num FROM alembic_version"'),
            ("flask db downgrade && flask db upgrade", "psql -q < back.sql && psql -q < up.sql"),
        ):
            compare(
                line,
                "aim: 0.27 s a command",
                10,
                psql=lambda sql=sql: run(sql),
                warm=lambda line=line: run(line),
                cold=lambda line=line: run(line, warm=False),
            )


def notebooks() -> None:
    """all notebooks, warm against cold"""
    for what, paths in (
        ("lessons 00 to 14", [path for path in LESSONS if path.name[:2] not in UNDER_TRAFFIC]),
        ("lessons under traffic", [path for path in LESSONS if path.name[:2] in UNDER_TRAFFIC]),
    ):
        if paths:
            compare(
                what,
                "aim: 0.30, cpu 0.30",
                1,
                warm=lambda p=paths: nbval(p),
                cold=lambda p=paths: nbval(p, LAB_WARM="0"),
            )


def runners() -> None:
    """lessons 00 to 07 by nbval, by nbmake and by nbclient alone"""
    with tempfile.TemporaryDirectory() as target:
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", target, NBMAKE]
        subprocess.run([sys.executable, *install], check=True, stderr=subprocess.DEVNULL)
        compare(
            "lessons 00 to 07",
            "aim: nbval within 1.1 of the faster",
            ROUNDS,
            nbval=lambda: nbval(CORE),
            nbmake=lambda: pytest("--nbmake", *map(str, CORE), PYTHONPATH=target),
            nbclient=lambda: subprocess.run([sys.executable, "tests/bench.py", "execute"], cwd=COURSE, check=True),
        )


def execute() -> None:
    """(lessons 00 to 07 by nbclient, for the part runners)"""
    from nbclient import NotebookClient

    with home_of_its_own():
        for path in CORE:
            resources = {"metadata": {"path": str(NOTEBOOKS)}}
            NotebookClient(nbformat.read(path, 4), timeout=180, resources=resources).execute()


def workers() -> None:
    """lessons 00 to 07 by two workers against one, and twice the lessons against once"""
    compare("two workers", "aim: 0.6", ROUNDS, two=lambda: nbval(CORE, "-n", "2"), one=lambda: nbval(CORE))
    twice = lambda: nbval(CORE * 2, "--keep-duplicates")  # noqa: E731
    compare("the lessons twice", "aim: 2.1", ROUNDS, twice=twice, once=lambda: nbval(CORE))


def openings() -> None:
    """opening a lesson on a warm server, and one with a million orders"""
    with home_of_its_own(), closing(Kernel()) as kernel:
        for name in ("05_add_column", "16_big_tables"):
            cell = f'from lab import lesson\nhere = lesson("{name}")'
            kernel.run(cell)  # makes the template
            taken = []
            for _ in range(9):
                start = time.monotonic()
                kernel.run(cell)
                taken.append(time.monotonic() - start)
            print(f"opening {name}: median {median(taken):.2f} s, slowest {max(taken):.2f} s of {len(taken)}")


def memory() -> None:
    """a lesson's kernel with its warm parent against one without"""
    sizes = {}
    with home_of_its_own():
        for warm in ("1", "0"):
            os.environ["LAB_WARM"] = warm
            with closing(Kernel()) as kernel:
                kernel.run('from lab import lesson\nhere = lesson("05_add_column")')
                kernel.run("!flask db current")
                sizes[warm] = megabytes(kernel)
    print(f"memory: {sizes['1']:.0f} MB with the warm parent, {sizes['0']:.0f} MB without (aim: at most 60 MB more)")


def megabytes(kernel: Kernel) -> float:
    """What a kernel and its children would give back if they ended."""
    process = psutil.Process(kernel.manager.provisioner.pid)
    return sum(each.memory_full_info().uss for each in [process, *process.children(recursive=True)]) / 1e6


def classroom(learners: int = 30, pause: float = 4) -> None:
    """thirty learners on one machine, lessons 01 to 07 at the pace of a cell in some seconds, and then at full speed"""
    cells = [
        (path, cell.source) for path in CORE[1:] for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"
    ]
    for name, pause_now in (("at a learner's pace", pause), ("as fast as they can", 0)):
        taken, failed, sizes = [], [], []

        def learn(number: int, homes: list[Path], pause_now=pause_now, taken=taken, failed=failed, sizes=sizes) -> None:
            with closing(Kernel(LAB_HOME=str(homes[number]))) as kernel:
                time.sleep(pause_now * number / learners)
                for path, source in cells:
                    start = time.monotonic()
                    try:
                        kernel.run(source)
                    except AssertionError as error:
                        failed.append(f"learner {number}, {path.name}: {str(error)[-300:]}")
                    taken.append(time.monotonic() - start)
                    time.sleep(max(0, pause_now - taken[-1]))
                sizes.append(megabytes(kernel))

        with home_of_its_own() as home:
            homes = [home / f"learner-{number}" for number in range(learners)]
            threads = [threading.Thread(target=learn, args=[number, homes]) for number in range(learners)]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            served = (
                sum(each.memory_full_info().uss for each in psutil.process_iter() if each.name() == "postgres") / 1e6
            )
            for each in homes:
                lab("clean", "--yes", LAB_HOME=str(each))
        taken.sort()
        print(
            f"{learners} {name}: {len(taken)} cells in {time.monotonic() - began:.0f} s, {len(failed)} failed:\n"
            f"  a cell took {median(taken):.2f} s, 95 % under {taken[len(taken) * 95 // 100]:.1f} s, "
            f"the slowest {taken[-1]:.1f} s; {median(sizes):.0f} MB a learner, and {served:.0f} MB the servers"
        )
        print(*failed[:5], sep="\n")


PARTS = {part.__name__: part for part in (command, openings, memory, notebooks, runners, workers, classroom)}


def main(names: list[str]) -> int:
    if names == ["execute"]:
        execute()
        return 0
    if unknown := set(names) - set(PARTS):
        print(f"There is no part {', '.join(sorted(unknown))}. {__doc__}")
        print("\n".join(f"  {name:<11}{part.__doc__}" for name, part in PARTS.items()))
        return 2
    for name in names or PARTS:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
