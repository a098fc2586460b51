"""Renders a batch as one self-contained HTML file."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from revalid.jobs.result import StepResult, StepStatus, TestCase
from revalid.producer.report.excerpt import excerpt
from revalid.producer.report.model import STATES, BatchReport, Cause, Row
from revalid.producer.sanitize import cached, clean, one_line, seconds

_FAILED_LOG, _OTHER_LOG = 24_000, 2_000
_FAILED_LOGS, _OTHER_LOGS = 12_000_000, 3_000_000
"""Most characters of logs in the whole file; many steps share them."""
_TESTS = 50
"""Most failed and flaky tests of a step."""
_PICTURES = 1_000
"""Most steps in the whole file whose pages are shown."""
_TURN = 100.0


@dataclass(frozen=True)
class _Log:
    """The shown part of a step's output."""

    label: str
    text: str
    left_out: int


@dataclass(frozen=True)
class _Step:
    """A step on the page; ``start`` and ``width`` are per cent of the row's time.

    Attributes:
        tests: The first failed and flaky tests.
    """

    step: StepResult
    kind: str
    outcome: str
    start: float
    width: float
    logs: tuple[_Log, ...]
    tests: tuple[TestCase, ...]


@dataclass(frozen=True)
class _Entry:
    """A row on the page.

    Attributes:
        causes: Numbers of its causes on this page.
        share: Its duration, in per cent of the longest in the batch.
        rendered: The steps whose pages a browser opened.
        twin: The anchor of the row that shows the logs of the same job.
    """

    row: Row
    anchor: str
    causes: tuple[int, ...]
    cause: str
    share: float
    steps: tuple[_Step, ...]
    rendered: tuple[StepResult, ...]
    twin: str | None

    @cached_property
    def text(self) -> str:
        """Return the text that the page's filter searches."""
        row = self.row
        labels = (f"{name}={value}" for name, value in row.labels.items())
        words = (row.title, row.id, row.failed_step, row.error, row.strategy, self.cause, *labels)
        return one_line(" ".join(word for word in words if word)).lower()


@dataclass(frozen=True)
class _Arc:
    """A state's part of the chart, in per cent; it is drawn shorter to leave a gap."""

    state: str
    number: int
    drawn: float
    offset: float


def to_html(report: BatchReport) -> str:
    """Render the report as an HTML page.

    What projects chose, such as names and outputs, is escaped, and the page's policy lets no
    script run but its own.
    """
    environment = Environment(
        loader=PackageLoader("revalid.producer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds, "line": one_line, "words": _words}
    script, style = (_source(environment, f"report.{kind}") for kind in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    anchors = _anchors(report.jobs)
    placed = list(zip(report.jobs, anchors, strict=True))
    return environment.get_template("report.html").render(
        report=report,
        entries=list(_entries(report, placed)),
        links={row.project: anchor for row, anchor in reversed(placed)},
        arcs=list(_arcs(report.counts)),
        digest=digest,
        script=Markup(script),  # noqa: S704 -- ours
        style=Markup(style),  # noqa: S704 -- ours
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None, "it was made with one"  # noqa: S101
    return environment.loader.get_source(environment, name)[0]


def _entries(report: BatchReport, placed: Iterable[tuple[Row, str]]) -> Iterator[_Entry]:
    causes: dict[str, list[tuple[int, Cause]]] = {}
    for number, cause in enumerate(report.causes, 1):
        for name in cause.projects:
            causes.setdefault(name, []).append((number, cause))
    longest = max((row.spent_s for row in report.jobs), default=0) or 1
    limits = _limits(report.jobs)
    shown: dict[str, str] = {}
    pictures = 0
    for row, anchor in placed:
        mine = causes.get(row.project, []) if row.red else []
        twin = shown.setdefault(row.id, anchor) if row.id and row.steps else anchor
        rendered = [s for s in row.steps if s.render and s.render.pages and twin == anchor]
        pictures += len(rendered)
        yield _Entry(
            row=row,
            anchor=anchor,
            causes=tuple(number for number, _ in mine),
            cause=" / ".join(cause.title for _, cause in mine),
            share=round(_TURN * row.spent_s / longest, 2),
            steps=tuple(_steps(row, *(limits if twin == anchor else (0, 0)))),
            rendered=tuple(rendered) if pictures <= _PICTURES else (),
            twin=None if twin == anchor else twin,
        )


def _limits(rows: Iterable[Row]) -> tuple[int, int]:
    """Return the characters to show of a failed step's log and of another log."""
    printed = [step.ok for row in rows for step in row.steps if step.stdout or step.stderr]
    fine, failed = sum(printed) or 1, len(printed) - sum(printed) or 1
    return min(_FAILED_LOG, _FAILED_LOGS // failed), min(_OTHER_LOG, _OTHER_LOGS // fine)


def _steps(row: Row, failed_limit: int, other_limit: int) -> Iterator[_Step]:
    whole = max(row.duration_s or 0, sum(step.duration_s for step in row.steps)) or 1
    start = 0.0
    for step in row.steps:
        width = _TURN * step.duration_s / whole
        limit = other_limit if step.ok else failed_limit
        yield _Step(
            step=step,
            kind=_kind(step),
            outcome=_outcome(step),
            start=round(start, 2),
            width=round(width, 2),
            logs=tuple(_logs(step, limit)) if limit else (),
            tests=tuple(_notable_tests(step))[:_TESTS],
        )
        start += width


def _notable_tests(step: StepResult) -> Iterator[TestCase]:
    cases = step.tests.cases if step.tests is not None else ()
    return (case for case in cases if case.status == "failed" or case.flaky)


def _kind(step: StepResult) -> str:
    decides = step.status in (StepStatus.PASSED, StepStatus.SKIPPED) or not step.allow_failure
    return step.status if decides else "allowed"


def _outcome(step: StepResult) -> str:
    outcome = step.outcome
    if outcome and step.allow_failure and step.status is not StepStatus.SKIPPED:
        outcome += ", may fail"
    return outcome or cached(step)


def _logs(step: StepResult, limit: int) -> Iterator[_Log]:
    streams = [("stdout", step.stdout), ("stderr", step.stderr)]
    printed = [(label, text) for label, text in streams if text.strip()]
    for label, text in printed:
        kept, left_out = excerpt(text, limit // len(printed))
        yield _Log(label if len(printed) > 1 else "", clean(kept).strip("\n"), left_out)


def _arcs(counts: dict[str, int]) -> Iterator[_Arc]:
    total = sum(counts.values()) or 1
    offset = 0.0
    for state in STATES:
        length = _TURN * counts.get(state, 0) / total
        if length:
            gap = 0.8 if 2 < length < _TURN else 0
            yield _Arc(state, counts[state], round(length - gap, 3), round(offset, 3))
        offset += length


def _anchors(rows: Iterable[Row]) -> list[str]:
    """Return an anchor for each row, made from the project's name so that links last."""
    taken: dict[str, int] = {}
    anchors = []
    for row in rows:
        base = "p-" + (re.sub(r"[^A-Za-z0-9._]+", "-", row.project)[:80].strip("-") or "project")
        base += f"-r{row.repeat}" if row.repeat > 1 else ""
        anchor = base
        while anchor in taken:
            taken[base] += 1
            anchor = f"{base}-{taken[base]}"
        taken[anchor] = 1
        anchors.append(anchor)
    return anchors


def _words(state: str) -> str:
    return state.replace("_", " ")
