"""Measure side by side what the course promises of speed: `make bench`, or `python tests/bench.py PART[=NUMBER] ...`.

Every comparison alternates in one run, since machines differ and are busy at times: what counts is the ratio. CPU is
that of the whole machine, the server's included, so let nothing else run meanwhile. The parts, all unless some are
named; classroom=60 asks for sixty learners:
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import takewhile
from pathlib import Path
from statistics import median
from subprocess import PIPE, STDOUT

import nbformat
import psutil
from homes import NOTEBOOKS, home_of_its_own, lab
from kernel import Kernel

COURSE = NOTEBOOKS.parent
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
QUIET = [path for path in LESSONS if path.name[:2] < "15"]
UNDER_TRAFFIC = LESSONS[len(QUIET) :]  # their time is that of the load
CORE = [path for path in LESSONS if path.name[:2] <= "07"]
NBMAKE = "nbmake==1.5.5"  # for the comparison only
ROUNDS = range(3)


def compare(what: str, aim: str, rounds: Iterable, **ways) -> None:
    """Run the ways in turn, each round in the other order, with what the rounds are made of.

    Printed are for each way the sums of wall time and CPU, and the median of their ratios to the last way's.
    """
    taken = {name: [] for name in ways}
    for number, item in enumerate(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            print(f"\r{what}: {name}, round {number + 1} ".ljust(70), end="", flush=True)
            busy, start = busy_seconds(), time.monotonic()
            ways[name](item)
            taken[name].append((time.monotonic() - start, busy_seconds() - busy))
    print(f"\r{what}, {number + 1} rounds ({aim})".ljust(70))
    base = list(taken.values())[-1]
    for name, times in taken.items():
        wall, cpu = (sum(column) for column in zip(*times, strict=True))
        ratios = [(one / of, busy / max(busy_of, 0.01)) for (one, busy), (of, busy_of) in zip(times, base, strict=True)]
        faster, lighter = (median(column) for column in zip(*ratios, strict=True))
        print(f"  {name:<26}{wall:8.2f} s {faster:6.2f}   cpu {cpu:8.2f} s {lighter:6.2f}")


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
        kernel.run("path = os.environ['PATH']")
        kernel.run("!flask db downgrade --sql e2062c5f334d:d1aec552451b 2> /dev/null > back.sql")
        kernel.run("!flask db upgrade --sql d1aec552451b:e2062c5f334d 2> /dev/null > up.sql")

        def run(line: str, warm: bool = True) -> None:
            kernel.run(f"os.environ['PATH'] = path if {warm} else path.partition(os.pathsep)[2]")
            assert kernel.run(f"!({line}) > out.txt 2>&1\nprint(_exit_code)") == "0\n"

        for line, sql in (
            ("flask db current", 'psql -c "SELECT version_num FROM alembic_version"'),
            ("flask db downgrade && flask db upgrade", "psql -q < back.sql && psql -q < up.sql"),
        ):
            compare(
                line,
                "aim: 0.27 s a command",
                range(10),
                psql=lambda _, sql=sql: run(sql),
                warm=lambda _, line=line: run(line),
                cold=lambda _, line=line: run(line, warm=False),
            )


def notebooks() -> None:
    """all notebooks, warm against cold"""
    for what, paths, rounds in (
        ("lessons 00 to 14", QUIET, 2),
        ("lessons under traffic", UNDER_TRAFFIC, 1),
    ):
        compare(
            what,
            "aim: 0.30, cpu 0.30",
            range(rounds),
            warm=lambda _, p=paths: nbval(p),
            cold=lambda _, p=paths: nbval(p, LAB_WARM="0"),
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
            nbval=lambda _: nbval(CORE),
            nbmake=lambda _: pytest("--nbmake", *map(str, CORE), PYTHONPATH=target),
            nbclient=lambda _: by_nbclient(1),
        )


def by_nbclient(times: int) -> None:
    """Run lessons 00 to 07 in a process of its own, `times` times in one home."""
    subprocess.run([sys.executable, __file__, "execute", str(times)], cwd=COURSE, check=True)


def execute(times: int) -> None:
    """What `by_nbclient` runs."""
    from nbclient import NotebookClient

    with home_of_its_own():
        for path in CORE * times:
            resources = {"metadata": {"path": str(NOTEBOOKS)}}
            NotebookClient(nbformat.read(path, 4), timeout=180, resources=resources).execute()


def workers() -> None:
    """lessons 00 to 14 by two workers against one, and lessons 00 to 07 twice against once"""
    compare("two workers", "aim: 0.6", range(2), two=lambda _: nbval(QUIET, "-n", "2"), one=lambda _: nbval(QUIET))
    compare("the lessons twice", "aim: 2.1", ROUNDS, twice=lambda _: by_nbclient(2), once=lambda _: by_nbclient(1))


# Run by the clone's own Python: what its kernel does up to the end of lesson 00's first cell.
IN_THE_CLONE = """
import sys
import time
import nbformat
from kernel import Kernel

counted = [float(sys.argv[1])]

def step(name, what, *arguments):
    start = time.monotonic()
    done = what(*arguments)
    counted.append(time.monotonic() - start)
    print(f"  {name:<50}{counted[-1]:6.1f} s")
    return done

cells = nbformat.read("notebooks/00_start_here.ipynb", 4).cells
source = next(cell.source for cell in cells if cell.cell_type == "code")
kernel = step("kernel: start", Kernel)
step("first cell: import the lab", kernel.run, "import lab")
step("first cell: make the embedded server and start it", kernel.run, "lab.server.choose()")
step("first cell: fill the starting point and copy it", kernel.run, source)
print(f"  {'in all':<50}{sum(counted):6.1f} s")
step("(the same cell once more)", kernel.run, source)
kernel.close()
"""


def first_cell() -> None:
    """a fresh clone until its first cell is executed, step by step, with packages already in pip's cache"""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "course"
        python = str(clone / ".venv" / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
        variables = {**os.environ, "LAB_DATABASE": "embedded", "PYTHONPATH": str(clone / "tests")}
        variables.pop("LAB_HOME", None)

        counted = []

        def step(name: str, command: list[str], cwd: Path = clone, until: str = "") -> None:
            start = time.monotonic()
            with subprocess.Popen(command, cwd=cwd, env=variables, stdout=PIPE, stderr=STDOUT, text=True) as process:
                said = list(takewhile(lambda line: not until or until not in line, process.stdout))
                taken = time.monotonic() - start
                if until:
                    process.terminate()
            if not name.startswith("("):
                counted.append(taken)
            if process.returncode and not until:
                sys.exit(f"failed: {' '.join(command)}\n{''.join(said)}")
            print(f"  {name:<50}{taken:6.1f} s" if name else "".join(said).rstrip(), flush=True)

        print("a fresh clone until its first cell is executed; what stands in brackets is not in the sum")
        step("git clone", ["git", "clone", "--quiet", str(COURSE), str(clone)], cwd=Path(folder))
        step("make: python -m venv", [sys.executable, "-m", "venv", ".venv"])
        step("(pip: choose, and find all in its cache)", [*pip, "--dry-run"])
        step("make: pip install", pip)
        jupyter = [python, "-m", "jupyterlab", "notebooks", "--config=jupyter/lab_config.py", "--no-browser"]
        step("JupyterLab: until it prints its address", [*jupyter, "--port=0"], until="?token=")
        try:
            step("", [python, "-c", IN_THE_CLONE, str(sum(counted))])
        finally:
            subprocess.run([python, "-m", "lab", "clean", "--yes"], cwd=clone / "notebooks", env=variables)


def openings() -> None:
    """opening a lesson on a warm server, and one with a million orders"""
    with home_of_its_own(), closing(Kernel()) as kernel:
        for name, aim in (("05_add_column", "0.3, Docker 0.6"), ("16_big_tables", 1)):
            cell = f'from lab import lesson\nhere = lesson("{name}")'
            kernel.run(cell)  # makes the template
            taken = []
            for _ in range(9):
                start = time.monotonic()
                kernel.run(cell)
                taken.append(time.monotonic() - start)
            print(
                f"opening {name} on {os.environ['LAB_DATABASE']} (aim: {aim} s): "
                f"median {median(taken):.2f} s, slowest {max(taken):.2f} s of {len(taken)}"
            )


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
    process, taken = psutil.Process(kernel.manager.provisioner.pid), 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # that of the last command may be ending
            taken += each.memory_full_info().uss
    return taken / 1e6


def rate() -> None:
    """requests a second that the bookshop serves without delay, where no migration runs"""
    with home_of_its_own(), closing(Kernel(LAB_TRAFFIC_SECONDS="10")) as kernel:
        kernel.run('from statistics import quantiles\nfrom lab import lesson\nhere = lesson("05_add_column")')
        print("requests a second, and how long they take in ms: median, 95 of 100, the slowest")
        for a_second in (10, 20, 40, 80, 160):
            kernel.run(f'run = here.traffic("true", rate={a_second})')
            kernel.run("parts = quantiles([1000 * seconds for _, seconds, *_ in run.requests], n=20)")
            figures = kernel.run('print(f"{parts[9]:6.0f} {parts[18]:6.0f} {1000 * run.slowest:6.0f}")').rstrip()
            print(f"  {a_second:<5}{figures}")


def classroom(learners: int = 30, pause: float = 4) -> None:
    """thirty learners on one machine, lessons 01 to 07 at the pace of a cell in some seconds, and then at full speed"""
    cells = [
        (path, cell.source) for path in CORE[1:] for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"
    ]
    for name, pause_now in (("at a learner's pace", pause), ("as fast as they can", 0)):
        taken, failed = [], []

        def learn(number: int, homes: list[Path], pause_now=pause_now, taken=taken, failed=failed) -> None:
            time.sleep(pause_now * number / learners)
            try:
                with closing(Kernel(LAB_HOME=str(homes[number]))) as kernel:
                    for path, source in cells:
                        start = time.monotonic()
                        try:
                            kernel.run(source, timeout=900)  # slow is no failure here, it is what is measured
                        except (AssertionError, TimeoutError) as error:
                            failed.append(f"{path.name}: {str(error)[-300:]}")
                        took = time.monotonic() - start
                        taken.append(took)
                        time.sleep(max(0, pause_now - took))
            except RuntimeError as error:  # no kernel within a minute, or it died
                failed.append(str(error))

        with home_of_its_own() as home:
            homes = [home / f"learner-{number}" for number in range(learners)]
            threads = [threading.Thread(target=learn, args=[number, homes]) for number in range(learners)]
            began = time.monotonic()
            free = least = psutil.virtual_memory().available
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():
                        progress = f"\r{name}: {len(taken)} of {len(cells) * learners} cells"
                        print(progress.ljust(70), end="", flush=True)
                        least = min(least, psutil.virtual_memory().available)
                        thread.join(5)
                lasted = time.monotonic() - began
            finally:
                for each in homes:
                    lab("clean", "--yes", LAB_HOME=str(each))
        taken.sort()
        print(
            f"\r{learners} {name}: {len(taken)} cells in {lasted:.0f} s, {len(failed)} failed:\n"
            f"  a cell took {median(taken):.2f} s, 95 % under {taken[len(taken) * 95 // 100]:.1f} s, "
            f"the slowest {taken[-1]:.1f} s; {(free - least) / learners / 1e6:.0f} MB a learner, the server included"
        )
        for reason, times in Counter(failed).most_common(10):
            print(f"  {times} times: {reason}")


MEASURED = (command, first_cell, openings, memory, rate, notebooks, runners, workers, classroom)
PARTS = {part.__name__: part for part in MEASURED}


def main(names: list[str]) -> int:
    if names[:1] == ["execute"]:
        execute(int(names[1]))
        return 0
    known = re.compile(rf"{'|'.join(PARTS)}|classroom=[1-9]\d*")
    if unknown := [name for name in names if not known.fullmatch(name)]:
        print(f"There is no part {', '.join(unknown)}. {__doc__}")
        print("\n".join(f"  {name:<11}{part.__doc__}" for name, part in PARTS.items()))
        return 2
    for name, _, number in (name.partition("=") for name in names or PARTS):
        PARTS[name](*[int(number)] if number else [])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
