"""The rows of the matrix, and their report."""

from collections import defaultdict
from dataclasses import dataclass, field

import pytest

ROWS: dict[int, tuple[str, str]] = {
    1: ("worker kill -9 mid-job", "another worker has it within 45 s; one result, attempt 2"),
    2: ("kill -9 storm", "no job lost, none recorded twice"),
    3: ("child kill -9", "again within 10 s, counted"),
    4: ("poison job", "dead after three; others proceed"),
    5: ("broker's connections cut", "no second run"),
    6: ("broker kill -9 and restart mid-job", "worker alive or restarted; one effect"),
    7: ("broker down longer than the job", "result stored on return, effect not repeated"),
    8: ("broker frozen", "consumes within 60 s of the thaw; a producer errs within 10 s"),
    9: ("broker's data wiped", "clear errors, no hang; the same submit runs again"),
    10: ("doorbell lost", "rung again within 45 s"),
    11: ("doorbell delivered twice", "the second does nothing"),
    12: ("zombie worker", "its stale fence is refused, what it ran is ended"),
    13: ("clock wrong by an hour", "leases unaffected"),
    14: ("engine session or engine dies", "reconnected; retried as our failure, never failed"),
    15: ("engine frozen", "seen within 30 s, retried, then errored; the slot is free 5 s after"),
    16: ("cancel", "cancelled within 5 s, the command stopped; a queued one never runs"),
    17: ("SIGTERM during jobs", "short ones finish, long ones go back; exit within the grace"),
    18: ("huge or hostile tarball", "refused before it is queued; nothing outside the root"),
    19: ("store full", "submit fails cleanly, running jobs finish, workers live"),
    20: ("backlog on one worker", "memory bounded, no tenant starves, p99 of a claim stated"),
    25: (
        "broker's clock steps by an hour",
        "back: a dead worker's job goes on; ahead: leases stay",
    ),
    28: ("what a killed worker leaves in the broker", "no message unacknowledged, no binding"),
    24: ("one tenant fills the store", "refused above its bytes; others submit; room comes back"),
    26: ("200 webhooks to a receiver that hangs", "another tenant's is posted within one turn"),
    27: ("a run that joined a job dies", "the job goes on for who submitted it"),
    21: ("processes that hang, several workers", "every slot comes back, whoever reaped"),
    22: ("a worker's disk full", "jobs pass elsewhere; it takes none until there is room"),
    23: ("garbage on the queue, Redis full while jobs wait", "no worker ends, no job is lost"),
}


@dataclass
class Report:
    """A pytest plugin that prints a line for each test of a row, and the counts."""

    outcomes: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    skips: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lines: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print what the test proved; a failed set-up or teardown counts as a failed test."""
        properties = dict(report.user_properties)
        row = properties.get("row")
        if not isinstance(row, int) or (report.when != "call" and report.passed):
            return
        self.outcomes[row].append(report.outcome)
        statement = str(properties.get("proved", ROWS[row][1]))
        if report.skipped:
            assert isinstance(report.longrepr, tuple)
            statement = report.longrepr[2].removeprefix("Skipped: ")
            self.skips[statement].append(str(row))
        word = {"passed": "", "failed": " FAILED", "skipped": " skipped"}[report.outcome]
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        if report.failed:
            statement = f"{name}: must hold: {ROWS[row][1]}; {_reason(report)}"
        print(f"\nrow {row}{word} {ROWS[row][0]}: {statement}", flush=True)  # noqa: T201

    def summary(self) -> str:
        """Return the last line; a row counts as failed or skipped if one of its parts does."""
        worst = [_worst(self.outcomes[row]) for row in sorted(self.outcomes)]
        counts = {word: worst.count(word) for word in ("passed", "failed", "skipped")}
        text = "rows: " + ", ".join(f"{number} {word}" for word, number in counts.items())
        details = [
            f"row {', '.join(sorted(set(rows), key=int))}: {why}"
            for why, rows in self.skips.items()
        ]
        if missing := [str(row) for row in ROWS if row not in self.outcomes]:
            details.append(f"row {', '.join(missing)}: not run")
        return f"{text} ({'; '.join(details)})" if details else text


def _worst(outcomes: list[str]) -> str:
    return next(word for word in ("failed", "skipped", "passed") if word in outcomes)


def _reason(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr).strip().partition("\n")[0][:300]
