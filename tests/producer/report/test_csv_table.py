"""CSV, read back."""

import csv
import io

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.result import Proven, Verdict
from revalid.producer.report import Row, render
from tests.producer.report.samples import failing, report, row, unfinished

TESTS = Proven(check=CheckName.TESTS, step="test", words="12 tests passed")


def lines(*rows: Row) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(report(rows), "csv"))))


def test_a_row_is_a_line() -> None:
    labels = {"team": "web", "tier": "1"}
    shop, blog, late, gone = lines(
        failing("shop", "test", "error: no seat", id="1f", labels=labels),
        row("blog", reused=True, repeat=2, proven=(TESTS,)),
        unfinished("late"),
        Row(project="gone", error="no such\ndirectory"),
    )
    assert shop == {
        "project": "shop",
        "repeat": "1",
        "id": "1f",
        "verdict": "failed",
        "failed_step": "test",
        "duration_s": "2.0",
        "queued_s": "0.0",
        "error": "",
        "strategy": "npm",
        "sandbox": "dagger",
        "attempts": "1",
        "reused": "false",
        "tests_executed": "",
        "tests_failed": "",
        "proven": "",
        "labels": "team=web tier=1",
        "cause": "no seat",
    }
    assert (blog["repeat"], blog["reused"], blog["cause"]) == ("2", "true", "")
    assert blog["proven"] == "test: 12 tests passed"
    assert (late["verdict"], late["duration_s"]) == ("pending", "")
    assert (gone["verdict"], gone["error"], gone["id"]) == (
        "not_submitted",
        "no such directory",
        "",
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " ="])
def test_no_cell_is_a_formula(start: str) -> None:
    evil = f'{start}HYPERLINK("http://x";"y")'
    (line,) = lines(row(evil, verdict=Verdict.ERRORED, error=evil, labels={evil: evil}))
    for name in ("project", "error", "labels", "cause"):
        assert line[name].startswith("'")
        assert line[name][1:].startswith(evil.strip())


def test_separators_and_line_breaks_stay_in_their_cell() -> None:
    (line,) = lines(row('a,"b"\nc;d'))
    assert line["project"] == 'a,"b" c;d'
