"""Markdown for a comment."""

import random
import re

from revalid.jobs.checks import CheckName
from revalid.jobs.result import Proven, Verdict
from revalid.producer.report import render
from tests.producer.report.samples import failing, report, row, unfinished
from tests.producer.report.test_causes import plant

P, F = Verdict.PASSED, Verdict.FAILED


def test_a_batch_in_a_comment() -> None:
    before = report([row("shop"), row("blog", verdict=F), row("old")], id="before")
    rows = [
        failing("shop", "build", "error: no seat 1"),
        failing("chat", "build", "error: no seat 2", duration_s=2.0),
        row("blog"),
        row("maps", verdict=P),
        row("maps", verdict=Verdict.ERRORED, error="no engine", repeat=2, duration_s=None),
        unfinished("late"),
    ]
    assert (
        render(report(rows, previous=before), "markdown")
        == """\
## revalid: 2 of 6 passed

✅ 2 passed · ❌ 2 failed · ⚠️ 1 errored · ⏳ 1 pending — batch `bbbbbbbbbbbb` of `apps`

### Since `before`

- **Regressed 1**: `shop` (passed → failed)
- **Fixed 1**: `blog` (failed → passed)
- **New 2**: `chat` (none → failed), `maps` (none → errored)
- **Missing 1**: `old` (passed → none)
- Unchanged 0

### Causes

| projects | check | what | for example |
|--:|---|---|---|
| 2 | `build` | `no seat …` | `shop`, `chat` |
| 1 | `errored` | `no engine` | `maps` |

### Did not pass

| project | verdict | step | time |
|---|---|---|--:|
| `shop` | ❌ failed | `build` | 2.0 s |
| `chat` | ❌ failed | `build` | 2.0 s |
| `maps (repeat 2)` | ⚠️ errored | `no engine` |  |

Repeats disagree: `maps`
"""
    )


def test_the_checks_that_passes_rest_on_are_counted() -> None:
    built = Proven(check=CheckName.BUILD, step="build", words="built")
    tested = Proven(check=CheckName.TESTS, step="test", words="12 tests passed")
    rows = [
        row("a", proven=(built, tested)),
        row("b", proven=(built,)),
        row("c", proven=(built, tested)),
    ]
    assert "Passes rest on build, tests: 2 · build: 1\n" in render(report(rows), "markdown")


def test_a_batch_that_passed_is_short() -> None:
    text = render(report([row("a"), row("b")]), "markdown")
    assert text.splitlines()[0] == "## revalid: 2 of 2 passed"
    assert "###" not in text
    assert "no projects" in render(report([]), "markdown")


def test_the_greatest_batch_fits_in_a_comment() -> None:
    rng = random.Random(7)
    long = "`|" * 200
    rows = [plant(n % 5, f"{long}{n}", rng) for n in range(2_000)]
    rows += [failing(f"{n}{long}", f"{n}{long}", f"error: {rng.random()}") for n in range(200)]
    rows += [row(f"{long}{n}", verdict=P, repeat=2) for n in range(2_000)]
    before = report([row(made.project, verdict=P) for made in rows] + [row(f"o{long}")])
    text = render(report(rows, previous=before), "markdown")
    assert len(text) < 65_536
    assert "2150 more projects" in text
    assert re.search(r"\d+ more causes", text)


def test_names_are_no_markup_and_mention_nobody() -> None:
    text = render(report([failing("@all | <b>x`</b>\n# head", "test", "error: @bob")]), "markdown")
    assert "| ``@all \\| <b>x`</b> # head`` | ❌ failed |" in text
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "@" not in outside
    assert "<" not in outside


def test_a_reused_verdict_is_marked() -> None:
    text = render(report([failing("a", "test", reused=True), row("b", reused=True)]), "markdown")
    assert "Reused verdicts of earlier runs: 2" in text
    assert "| `a` | ❌ failed | `test` | reused |" in text
