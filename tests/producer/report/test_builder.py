"""Building a report, and comparing two."""

from revalid.jobs.result import Verdict
from revalid.producer.report import Change, Comparison, Row, build, compare, render
from tests.producer.report.samples import CREATED, FINISHED, report, row, step, unfinished

P, F, T = Verdict.PASSED, Verdict.FAILED, Verdict.TIMED_OUT


def of(**projects: Verdict | None) -> list[Row]:
    return [row(name, verdict=verdict) for name, verdict in projects.items()]


def test_a_report_counts_every_state() -> None:
    rows = [*of(a=P, b=F, c=F), unfinished("d"), Row(project="e", error="no such directory")]
    counts = report(rows).counts
    assert counts == {
        "passed": 1,
        "failed": 2,
        "incomplete": 0,
        "timed_out": 0,
        "cancelled": 0,
        "rejected": 0,
        "errored": 0,
        "not_submitted": 1,
        "pending": 1,
    }


def test_projects_whose_repeats_disagree_are_flaky() -> None:
    rows = [
        *(row("steady", verdict=F, repeat=n) for n in (1, 2)),
        *(row("flaky", verdict=v, repeat=n) for n, v in ((1, P), (2, F))),
        *(row("red", verdict=v, repeat=n) for n, v in ((1, T), (2, F))),
        *(row("half", verdict=v, repeat=n) for n, v in ((1, P), (2, None))),
    ]
    assert report(rows).flaky == ("flaky", "red")


def test_each_project_is_compared_with_an_earlier_batch() -> None:
    before = report(of(same=P, red=F, broke=P, repaired=F, gone=F, stuck=P), id="before")
    after = report(of(same=P, red=T, broke=T, repaired=P, stuck=None, fresh=F), id="after")
    assert compare(after, before) == Comparison(
        previous="before",
        regressed=(Change(project="broke", was=P, now=T),),
        fixed=(Change(project="repaired", was=F, now=P),),
        new=(Change(project="fresh", was=None, now=F),),
        missing=(
            Change(project="gone", was=F, now=None),
            Change(project="stuck", was=P, now=None),
        ),
        unchanged=2,
    )


def test_a_project_that_was_not_submitted_is_listed_with_the_reason() -> None:
    before = report(of(a=P, b=F))
    rows = [Row(project=name, error="no such directory") for name in ("a", "c")]
    comparison = compare(report([*rows, row("b", verdict=F)]), before)
    why = "no such directory"
    assert comparison.not_submitted == (
        Change(project="a", was=P, now=None, reason=why),
        Change(project="c", was=None, now=None, reason=why),
    )
    assert (comparison.missing, comparison.new, comparison.unchanged) == ((), (), 1)
    told = render(report(rows, previous=before), "markdown")
    assert "| 2 | `not submitted` | `no such directory` |" in told
    assert "- **Not submitted 2**: `a` (passed → none, `no such directory`)" in told
    assert "none, no such directory" in render(report(rows, previous=before), "html")


def test_a_flaky_project_has_not_regressed() -> None:
    twice = [row("a", verdict=P), row("a", verdict=F, repeat=2)]
    steady = report(of(a=P))
    for now, was, change in (
        (twice, steady.jobs, Change(project="a", was=P, now=F)),
        (steady.jobs, twice, Change(project="a", was=F, now=P)),
    ):
        comparison = compare(report(now), report(was))
        assert comparison.flaky == (change,)
        assert not (comparison.regressed or comparison.fixed or comparison.unchanged)


def test_a_report_has_the_requested_comparison() -> None:
    before = report(of(a=P), id="before")
    rows = [row("a", step("test", 1))]
    after = build(
        id="x", name="apps", created_at=CREATED, finished_at=FINISHED, rows=rows, previous=before
    )
    assert after.comparison == compare(after, before)
    assert [change.project for change in after.comparison.regressed] == ["a"]
    assert report(rows).comparison is None
