"""Compares the verdicts of a batch with those that a file expects."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import describe
from revalid.jobs.result import Verdict
from revalid.jobs.steps import Frozen
from revalid.producer.report.diagnosis import diagnose, failed_step
from revalid.producer.report.model import Expectations, Judged, JudgedKind, Row

_COLUMNS = ("project", "verdict", "tests_executed", "tests_failed")
_NAMED = 5


class Expected(Frozen):
    """What a file expects of a project; a number that is None may be any."""

    verdicts: tuple[Verdict, ...] = Field(min_length=1)
    tests_executed: int | None = Field(default=None, ge=0)
    tests_failed: int | None = Field(default=None, ge=0)

    @field_validator("verdicts", mode="before")
    @classmethod
    def _verdicts(cls, words: str) -> tuple[Verdict, ...]:
        try:
            return tuple(
                dict.fromkeys(Verdict(word) for word in " ".join(words.split()).split(" or "))
            )
        except ValueError:
            known = ", ".join(Verdict)
            raise ValueError(f"{words!r}: write one or more of {known}, with `or`") from None


def read_expected(path: Path) -> dict[str, Expected]:
    """Read what a CSV file expects of each project.

    Raises:
        InvalidJob: The file cannot be read, or a line is wrong.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidJob(f"--expect {path}: {why}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        if not {"project", "verdict"} <= set(names) <= set(_COLUMNS) or len(set(names)) < len(
            names
        ):
            raise InvalidJob(
                f"--expect {path}: the first line must name the columns project and verdict, and "
                f"may name tests_executed and tests_failed; it has {', '.join(names) or 'none'}"
            )
        expected: dict[str, Expected] = {}
        for row in reader:
            _add(expected, f"--expect {path}:{reader.line_num}", row)
    except csv.Error as error:
        raise InvalidJob(f"--expect {path}: not CSV ({error})") from None
    if not expected:
        raise InvalidJob(f"--expect {path}: it has no project")
    return expected


def _add(expected: dict[str, Expected], place: str, row: Mapping[str | None, str | None]) -> None:
    if None in row or None in row.values():
        raise InvalidJob(f"{place}: the number of columns differs from the first line")
    cells = {name: (value or "").strip() for name, value in row.items() if name}
    project = cells.pop("project")
    if not project:
        raise InvalidJob(f"{place}: it names no project")
    if project in expected:
        raise InvalidJob(f"{place}: {project} has two lines: remove one")
    data = {"verdicts": cells.pop("verdict"), **{k: v for k, v in cells.items() if v}}
    try:
        expected[project] = Expected.model_validate(data)
    except ValidationError as error:
        raise InvalidJob(f"{place}: {describe(error)}") from None


def check_expected(expected: Iterable[str], projects: Iterable[str], *, narrowed: bool) -> None:
    """Check that the file and the batch name the same projects.

    Args:
        narrowed: Whether the batch leaves out projects on purpose, so that the file may name more.

    Raises:
        InvalidJob: They do not.
    """
    named, found = dict.fromkeys(expected), dict.fromkeys(projects)
    if unknown := [name for name in found if name not in named]:
        raise InvalidJob(f"--expect has no line for {_listed(unknown)}: add one, or use --only")
    if not narrowed and (missing := [name for name in named if name not in found]):
        raise InvalidJob(f"--expect names {_listed(missing)}, and the batch has no such project")


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class Judge:
    """Counts rows that are as expected, and keeps those that are not."""

    def __init__(self, expected: Mapping[str, Expected]) -> None:
        self._expected = expected
        self._table: dict[str, Counter[str]] = {}
        self._wrong: list[Judged] = []
        self._right = 0

    def add(self, row: Row) -> None:
        """Judge a row; a row of a project that the file does not name is left out."""
        if (expected := self._expected.get(row.project)) is None:
            return
        words = " or ".join(expected.verdicts)
        self._table.setdefault(words, Counter())[row.state] += 1
        differences = _differences(row, expected)
        if not differences:
            self._right += 1
            return
        self._wrong.append(
            Judged(
                project=row.title,
                kind=_kind(row, expected),
                expected=words,
                state=row.state,
                reason="; ".join(differences),
            )
        )

    def result(self) -> Expectations:
        """Return what was counted until now."""
        counts = Counter(judged.kind for judged in self._wrong)
        return Expectations(
            right=self._right,
            false_green=counts["false_green"],
            false_red=counts["false_red"],
            unproven=counts["unproven"],
            miscounted=counts["miscounted"],
            table={words: dict(counter) for words, counter in sorted(self._table.items())},
            wrong=tuple(self._wrong),
        )


def _kind(row: Row, expected: Expected) -> JudgedKind:
    if row.verdict in expected.verdicts:
        return "miscounted"
    match row.verdict:
        case Verdict.PASSED:
            return "false_green"
        case Verdict.FAILED | Verdict.TIMED_OUT:
            return "false_red"
    return "unproven"


def _differences(row: Row, expected: Expected) -> list[str]:
    """Return why a row is not as expected; nothing if it is."""
    if row.verdict not in expected.verdicts:
        return [_reason(row)]
    numbers = {
        "executed": (row.tests_executed, expected.tests_executed),
        "failed": (row.tests_failed, expected.tests_failed),
    }
    return [
        f"tests {name}: {'not counted' if seen is None else seen}, not {wanted}"
        for name, (seen, wanted) in numbers.items()
        if wanted is not None and seen != wanted
    ]


def _reason(row: Row) -> str:
    if row.verdict is Verdict.PASSED:
        return ", ".join(proof.words for proof in row.proven) or "nothing failed"
    if failed_step(row) is not None:
        diagnosis = diagnose(row)
        return f"{diagnosis.check}: {diagnosis.message}"
    missing = [item.words for item in row.unproven if item.decides]
    return "; ".join(missing) or row.error or row.failed_step or row.state.replace("_", " ")
