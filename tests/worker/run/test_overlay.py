"""Jobs with an overlay or an expected number of tests, in a real local sandbox."""

import pytest

from revalid.jobs.result import StepStatus, Verdict
from tests.worker.run.test_runner import MakeRun, make_run  # noqa: F401

PROJECT = {"tests/a.test": "exit 0\n", "app": "app\n"}
TRUSTED = {"tests/a.test": "echo trusted; exit 1\n"}
RUN = "sh tests/a.test"


async def test_the_overlay_decides_and_not_the_projects_file(make_run: MakeRun) -> None:  # noqa: F811
    run = make_run(RUN, project=PROJECT, overlay=TRUSTED)
    assert await run.execute() is Verdict.FAILED
    (step,) = run.steps
    assert (step.exit_code, step.stdout, step.tampered) == (1, "trusted\n", None)
    assert run.overlay_report is not None
    assert run.overlay_report.files == 1
    assert run.overlay_report.digest.startswith("sha256:")


async def test_a_check_that_changes_it_fails(make_run: MakeRun) -> None:  # noqa: F811
    run = make_run("rm tests/a.test; echo exit 0 >tests/a.test", project=PROJECT, overlay=TRUSTED)
    assert await run.execute() is Verdict.FAILED
    (step,) = run.steps
    assert (step.exit_code, step.status) == (0, StepStatus.FAILED)
    assert step.outcome == "tampered with: tests/a.test changed while it ran"
    assert run.unproven[0].reason == step.outcome


async def test_it_is_laid_anew_before_each_check(make_run: MakeRun) -> None:  # noqa: F811
    change = "rm -rf tests; mkdir tests; echo exit 0 >tests/a.test"
    run = make_run(change, RUN, project=PROJECT, overlay=TRUSTED, keep_going=True)
    assert await run.execute() is Verdict.FAILED
    assert [(step.tampered is None, step.exit_code) for step in run.steps] == [
        (False, 0),
        (True, 1),
    ]


async def test_a_project_with_a_link_out_is_no_way_to_other_files(make_run: MakeRun) -> None:  # noqa: F811
    run = make_run(RUN, project={"app": "app\n"}, overlay=TRUSTED)
    assert await run.execute() is Verdict.FAILED
    assert run.steps[0].stdout == "trusted\n"


PRINTS = "printf ' Test Files  1 passed (1)\\n      Tests  {} passed ({})\\n'"


@pytest.mark.parametrize(
    ("command", "verdict", "words"),
    [
        (PRINTS.format(12, 12), Verdict.PASSED, None),
        (PRINTS.format(13, 13), Verdict.PASSED, None),
        (PRINTS.format(7, 7), Verdict.FAILED, "expected 12 tests, 7 ran"),
        (
            "echo fine",
            Verdict.INCOMPLETE,
            "expected 12 tests, 0 ran; not every step that runs tests could be counted",
        ),
    ],
    ids=["enough", "more", "too few", "not counted"],
)
async def test_fewer_tests_than_expected_fail_the_job(
    make_run: MakeRun,  # noqa: F811
    command: str,
    verdict: Verdict,
    words: str | None,
) -> None:
    run = make_run("true", command, project=PROJECT, expect_tests=12)
    assert await run.execute() is verdict
    assert [item.reason for item in run.unproven] == ([words] if words else [])


async def test_a_project_without_tests_has_fewer_than_expected(make_run: MakeRun) -> None:  # noqa: F811
    package = '{"name": "app", "version": "1.0.0", "scripts": {"build": "exit 0; :"}}'
    run = make_run(project={"package.json": package}, strategy="npm", expect_tests=1)
    assert await run.execute() is Verdict.FAILED
    assert "expected 1 test, 0 ran" in [item.reason for item in run.unproven]


async def test_an_overlay_that_does_not_fit_is_refused(make_run: MakeRun) -> None:  # noqa: F811
    run = make_run(RUN, project={"tests/a.test/b": "x"}, overlay=TRUSTED)
    assert await run.execute() is Verdict.FAILED  # the directory gives way
    assert run.steps[0].stdout == "trusted\n"
