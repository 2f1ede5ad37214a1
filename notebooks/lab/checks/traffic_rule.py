"""The rule that runs an answer's revisions while visitors use the website."""

from .. import traffic
from ..commands import last_words
from .evidence import Evidence
from .finding import Finding, Rule, few
from .rules import behind
from .snapshot import Snapshot

SECONDS = 5  # of the load; a migration that takes longer makes the run longer
PATIENCE = 30  # seconds for a migration after the planned end


def blocks_nobody(
    command: str = "flask db upgrade",
    beside: str = "",
    longest: float = traffic.MARGIN,
    versions: tuple[str, ...] = (),
    deploy: str | None = None,
) -> Rule:
    """`command` takes a fresh copy of the starting data to the head, and blocks no visitor for `longest` seconds.

    `beside` is another session's SQL; `versions` serve, and when it is done `deploy` beside them: see traffic.run().
    The check takes as long as the run.
    """

    def examine(evidence: Evidence) -> Finding | None:
        url = evidence.fresh("traffic")
        run = traffic.run(
            evidence.folder,
            url,
            command,
            beside=beside,
            versions=versions,
            deploy=deploy,
            seconds=SECONDS,
            patience=PATIENCE,
        )
        if run.command["exit_code"]:
            return Finding(
                "under traffic your revision fails.",
                last_words(run.command["said"])[0],
                f"{command} succeeds while visitors use the website",
                "what else holds a lock on the table meanwhile, and what your revision does when it has to wait",
            )
        problem = f"{command} ended with exit code 0, and a fresh copy of the starting data is not at the head."
        look = "what migrations/env.py does on the connection before Alembic gets it, and what your command hides"
        if finding := behind(evidence, Snapshot.read(url).applied, problem, look):
            return finding
        if run.cut_off:
            return Finding(
                "somebody else's session was ended, so that your revision could run.",
                "the session beside lost its connection or its statement",
                "it does its work to the end",
                f"what ends sessions or statements when {command} runs; a short wait and another try do without",
            )
        # On the check's own database whoever else holds a visitor up is the answer's, whatever it calls itself.
        blocked = [wait for wait in run.blocked_by_others if wait.seconds > longest]
        if blocked:
            return Finding(
                "while your revision ran, visitors had to wait for it.",
                few(
                    [
                        f"{len(blocked)} requests waited for up to {max(wait.seconds for wait in blocked):.1f} s",
                        "for " + ", ".join(sorted({f"{traffic.plain(wait.lock)} on {wait.on}" for wait in blocked})),
                        *(
                            f"it held {traffic.plain(lock)} on {table} for {seconds:.1f} s"
                            for table, (lock, seconds) in sorted(run.strongest.items())
                        ),
                        *(f"the revision ran for {run.ran:.1f} s: {statement}" for _, statement in run.statements),
                    ]
                ),
                f"nobody waits for longer than {longest:g} s",
                f"the locks that it takes: each is kept until its transaction ends; here.traffic({command!r}) draws it",
            )
        if run.failed:
            return Finding(
                "while your revision ran, requests of visitors failed.",
                f"{len(run.failed)} of {len(run.requests)} requests",
                "every page answers, before, during and after",
                "which code meets which schema: the versions that serve while the command runs, and, once it is done, "
                f"those and yours; here.traffic({command!r}, versions=..., deploy=...) draws it",
            )
        return None

    return Rule("blocks nobody", examine)
