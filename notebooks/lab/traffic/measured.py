"""What a run under traffic says: figures, a text that holds on every machine, and a picture."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from ..commands import last_words
from .drawn import Drawn

MARGIN = 1.0  # seconds: what waits or is held for less may do so because the machine is busy


@dataclass(frozen=True)
class Wait:
    """A statement of a session that waited for a lock: `of` "website", "migration" or whoever, `behind` whom.

    `mostly` are those of them who stood before it at most looks: others it met in passing.
    """

    of: str
    pid: int
    query: str
    lock: str
    on: str
    behind: frozenset
    mostly: frozenset
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Measured(Drawn):
    """One run. Times are seconds since its start.

    `requests` are (due, seconds, method, status), a status of 0 for one without an answer. `looks` are what was seen
    at the server, see driver.py.
    """

    title: str
    requests: list = field(repr=False)
    looks: list = field(repr=False)
    command: dict
    lasted: float
    asked: list[int] = field(default_factory=list)  # requests to each of the `versions`, and to the one deployed
    versions: tuple[str, ...] = ()
    deploy: str | None = None
    cut_off: bool = False  # somebody ended the session beside before its time

    @cached_property
    def waits(self) -> list[Wait]:
        """Every statement that was seen waiting for a lock."""
        seen, met = {}, defaultdict(list)
        for moment, sessions, _ in self.looks:
            names = {pid: name for name, pid, *_ in sessions}
            behind = {pid: blockers for _, pid, _, _, _, blockers, *_ in sessions}
            for name, pid, started, _, query, blockers, mode, on, waited in sessions:
                if not blockers:
                    continue
                first = seen.get((pid, started))
                met[pid, started].append({names.get(other, "another") for other in _chain(pid, behind)})
                count = Counter(other for others in met[pid, started] for other in others)
                seen[pid, started] = Wait(
                    of=name,
                    pid=pid,
                    query=query,
                    lock=mode or "",
                    on=on or "",
                    behind=frozenset(count),
                    mostly=frozenset(other for other in count if 2 * count[other] > len(met[pid, started])),
                    began=first.began if first else moment - (waited or 0),
                    ended=moment,
                )
        return list(seen.values())

    @cached_property
    def blocked(self) -> list[Wait]:
        """The website's statements that waited behind the migration, directly or behind somebody who did.

        A look is not of one moment: of a wait that was seen once, the statement may be the one before.
        """
        return [wait for wait in self.waits if wait.of == "website" and "migration" in wait.behind]

    @property
    def blocked_by_others(self) -> list[Wait]:
        """The website's statements that waited behind anybody but the website itself and the session beside."""
        bystanders = {"website", "report", "another", ""}
        return [wait for wait in self.waits if wait.of == "website" and wait.behind - bystanders]

    @property
    def blocked_for(self) -> float:
        """From the first moment when a request was blocked by the migration to the last, in seconds."""
        if not self.blocked:
            return 0.0
        return max(wait.ended for wait in self.blocked) - min(wait.began for wait in self.blocked)

    @property
    def failed(self) -> list:
        """The requests that got no answer, or an error."""
        return [request for request in self.requests if not 200 <= request[3] < 400]

    @property
    def deployed(self) -> float | None:
        """When the version `deploy` began to serve beside the others, in seconds; None where none did."""
        return None if self.deploy is None or self.command["exit_code"] else self.command["ended"]

    @property
    def ran(self) -> float:
        """How long the command took, in seconds."""
        return self.command["ended"] - self.command["began"]

    @property
    def slowest(self) -> float:
        """The longest time that a request took, in seconds."""
        return max(seconds for _, seconds, _, _ in self.requests)

    @cached_property
    def held(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """The locks on tables that were held: (who, lock, table) and when it was first and last seen.

        One that was let go and taken again is told as it was held for longest.
        """
        longest, since = {}, {}
        for moment, _, locks in self.looks:
            since = {(name, mode, table): since.get((name, mode, table), moment) for name, table, mode in locks}
            for lock, began in since.items():
                first, last = longest.get(lock, (moment, moment))
                if moment - began >= last - first:
                    longest[lock] = began, moment
        return longest

    def sessions(self, name: str) -> list[tuple[float, float]]:
        """When the sessions called `name` were first and last seen at work, or in a transaction."""
        seen = {}
        for moment, sessions, _ in self.looks:
            for other, pid, *_ in sessions:
                if other == name:
                    first, _ = seen.get(pid, (moment, moment))
                    seen[pid] = (first, moment)
        return sorted(seen.values())

    @cached_property
    def statements(self) -> list[tuple[float, str]]:
        """The statements of the migration that were seen at more than one look, with the moment of the first."""
        seen = {}
        for moment, sessions, _ in self.looks:
            for name, pid, started, state, query, *_ in sessions:
                if name == "migration" and state == "active":
                    first, _, looks = seen.get((pid, started), (moment, query, 0))
                    seen[pid, started] = (first, query, looks + 1)
        return sorted((first, _short(query)) for first, query, looks in seen.values() if looks > 1)

    @property
    def strongest(self) -> dict[str, tuple[str, float]]:
        """The strongest lock that the migration held beyond MARGIN, by table, and the seconds.

        Who has it needs none of the weaker.
        """
        found = {}
        for (name, mode, table), (first, last) in self.held.items():
            if name == "migration" and last - first > MARGIN and mode in STRONG:
                held = mode, last - first
                found[table] = max(found.get(table, held), held, key=lambda each: STRONG.index(each[0]))
        return found

    def _served(self) -> str:
        """Which versions answered visitors, in words."""
        names = " and ".join(version or THE_FILES for version in self.versions or ("",))
        return names if self.deployed is None else f"{names}, then {self.deploy or THE_FILES} beside"

    def above(self, other: "Measured") -> "Comparison":
        """This run above another one, on the same axes."""
        return Comparison([self, other])

    def draw(self) -> bytes:
        return Comparison([self]).draw()

    def __repr__(self):
        """What holds on every machine: only what lasted for longer than MARGIN is told."""
        lines = [f"exit code {self.command['exit_code']}"]
        if self.command["exit_code"]:
            lines.append(last_words(self.command["said"])[0])
        for wait in _longest(wait for wait in self.waits if wait.of == "migration"):
            lines.append(f"waited     for {plain(wait.lock)} on {wait.on}, behind {_list(wait.mostly)}")
        for table, (mode, _) in sorted(self.strongest.items()):
            lines.append(f"held       {plain(mode)} on {table}")
        if self.cut_off:
            lines.append("ended      the session beside, before its time")
        if self.versions or self.deploy is not None:
            lines.append(f"served     {self._served()}")
        long = [wait for wait in self.blocked if wait.seconds > MARGIN]
        lines.append("blocked    " + ("requests of visitors" if long else "nobody"))
        lines.append("failed     " + ("requests of visitors" if self.failed else "no request"))
        return "\n".join(lines)


THE_FILES = "the files as they are"
# Those that somebody who reads or writes has to wait for, the strongest last.
STRONG = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")


@dataclass
class Comparison(Drawn):
    """Several runs, to be shown below each other."""

    runs: list[Measured]

    def __repr__(self):
        if len(self.runs) == 1:
            return repr(self.runs[0])
        return "\n\n".join(f"{run.title}\n{run!r}" for run in self.runs)

    def draw(self) -> bytes:
        from .picture import draw  # matplotlib takes half a second, and most lessons draw none

        return draw(self.runs)


def _short(query: str) -> str:
    """The beginning of a statement, on one line."""
    words = " ".join(query.split())
    return words if len(words) <= 60 else f"{words[:57]}..."


def _longest(waits) -> list[Wait]:
    """The waits beyond MARGIN, one for each lock and table."""
    found = {(wait.lock, wait.on): wait for wait in waits if wait.seconds > MARGIN}
    return [found[key] for key in sorted(found)]


def _chain(pid: int, behind: dict) -> set[int]:
    """Who holds a session up: those it waits for, and those whom these wait for."""
    found, ahead = set(), list(behind[pid])
    while ahead:
        other = ahead.pop()
        if other not in found:
            found.add(other)
            ahead += behind.get(other, [])
    return found


def plain(mode: str) -> str:
    """PostgreSQL's own words for a lock: "AccessExclusiveLock" is ACCESS EXCLUSIVE."""
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in mode.removesuffix("Lock"))
    return words.strip().upper()


def _list(names) -> str:
    return " and ".join(sorted(names))
