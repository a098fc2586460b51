"""Replay of plans in a real local sandbox whose forks count as free."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.encoding import json_size
from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import Job, StrategyName
from revalid.jobs.result import SourceReport
from revalid.jobs.services import ServiceKind
from revalid.jobs.settings import load_settings
from revalid.jobs.steps import Exec, ReadFile, SetWorkdir
from revalid.worker.run.output_budget import TOTAL_OUTPUT_BYTES
from revalid.worker.run.project import Project
from revalid.worker.run.replay import Replay
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import ExecResult
from revalid.worker.secrets import Scrubber
from revalid.worker.services import NeededService
from revalid.worker.strategies.dispatch import Plan, PlannedStep
from revalid.worker.strategies.plan import REPORT, TestRun, check

MakeReplay = Callable[..., Replay]


@pytest.fixture
def events() -> list[tuple[str, Any]]:
    """Return the events of the replay."""
    return []


@pytest.fixture
def replay_of(
    local: LocalSandbox,
    events: list[tuple[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeReplay:
    monkeypatch.setattr(LocalSandbox, "forks_freely", True)

    def make(*steps: PlannedStep, **fields: Any) -> Replay:
        job_steps = (Exec(command="true"),)
        return Replay(
            job=Job(strategy=StrategyName.TRAJECTORY, steps=job_steps, **fields),
            settings=load_settings({}, env_file=None, home=tmp_path / "home"),
            plan=Plan(StrategyName.NPM, "", steps, ()),
            project=Project(tmp_path, SourceReport()),
            sandbox=local,
            artifacts=tmp_path / "artifacts",
            scrubber=Scrubber(()),
            limits=DEFAULT_LIMITS,
            deadline=monotonic() + 60,
            emit=lambda type_, data: events.append((type_, data)),
        )

    return make


def plan_of_commands(*commands: str, stop_on_failure: bool) -> Plan:
    steps = tuple(PlannedStep(Exec(command=command)) for command in commands)
    return Plan(StrategyName.COMMAND, "", steps, (), stop_on_failure=stop_on_failure)


async def test_a_plan_that_stops_runs_nothing_after_a_failure(replay_of: MakeReplay) -> None:
    replay = replay_of()
    replay.plan = plan_of_commands("true", "exit 4", "echo b", "echo c", stop_on_failure=True)
    await replay.run()
    assert outcomes(replay) == [("true", 0), ("exit 4", 4), ("echo b", None), ("echo c", None)]
    assert {step.skipped_reason for step in replay.results[2:]} == {"exit 4 did not succeed"}


async def test_another_plan_continues_after_a_failure(replay_of: MakeReplay) -> None:
    replay = replay_of()
    replay.plan = plan_of_commands("exit 4", "echo b", stop_on_failure=False)
    await replay.run()
    assert outcomes(replay) == [("exit 4", 4), ("echo b", 0)]


def build(name: str, command: str, *depends_on: str) -> PlannedStep:
    return check(CheckName.BUILD, name, command, depends_on, parallel=False)


def outcomes(replay: Replay) -> list[tuple[str, int | None]]:
    return [(step.name, step.exit_code) for step in replay.results]


async def test_checks_run_in_parallel_and_keep_their_order(replay_of: MakeReplay) -> None:
    replay = replay_of(
        check(CheckName.BUILD, "slow", "echo kept; sleep 60"),
        check(CheckName.BUILD, "quick", "exit 3"),
    )
    quick, printed = asyncio.Event(), asyncio.Event()

    def emit(type_: str, data: dict[str, Any]) -> None:
        if type_ == "step_finished" and data["name"] == "quick":
            quick.set()
        if type_ == "output":
            printed.set()

    replay.emit = emit
    work = asyncio.create_task(replay.run())
    await asyncio.wait_for(asyncio.gather(quick.wait(), printed.wait()), 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    slow, second = replay.results
    assert (slow.name, slow.stdout, slow.cancelled) == ("slow", "kept\n", True)
    assert (second.name, second.exit_code) == ("quick", 3)


async def test_checks_start_from_the_install_and_are_isolated(
    replay_of: MakeReplay,
) -> None:
    alone = "test -e installed && ! test -e mark && ! test -e built && touch mark"
    install = PlannedStep(Exec(name="install", command="touch installed"), install=True)
    replay = replay_of(
        install,
        build("build", "touch built"),
        check(CheckName.BUILD, "one", alone),
        check(CheckName.BUILD, "two", alone),
    )
    await replay.run()
    assert outcomes(replay) == [("install", 0), ("build", 0), ("one", 0), ("two", 0)]
    assert replay.notes == []


async def test_check_starts_from_the_builds_it_depends_on(replay_of: MakeReplay) -> None:
    only = "test -e first && ! test -e second"
    replay = replay_of(
        build("first", "touch first"),
        build("second", "touch second"),
        check(CheckName.BUILD, "c", only, ("first",)),
    )
    await replay.run()
    assert outcomes(replay) == [("first", 0), ("second", 0), ("c", 0)]


async def test_check_whose_build_failed_does_not_run(replay_of: MakeReplay) -> None:
    replay = replay_of(build("build", "exit 2"), check(CheckName.BUILD, "test", "true", ("build",)))
    await replay.run()
    assert replay.results[1].skipped_reason == "build did not succeed"


async def test_failed_check_runs_again_on_the_files_of_the_builds(
    replay_of: MakeReplay, events: list[tuple[str, Any]]
) -> None:
    replay = replay_of(
        build("build", "sleep 0.2; touch built"),
        check(CheckName.BUILD, "wants it", "test -e built || { echo too early; exit 1; }"),
        check(CheckName.BUILD, "fails", "test -e built && echo late; exit 5"),
    )
    await replay.run()
    assert outcomes(replay) == [("build", 0), ("wants it", 0), ("fails", 5)]
    assert replay.results[2].stdout == "late\n"
    assert replay.notes == ["wants it passes only after build"]
    ended = [data["name"] for type_, data in events if type_ == "step_finished"]
    assert sorted(ended) == ["build", "fails", "wants it"]


async def test_failed_check_runs_once_if_no_build_succeeded(
    replay_of: MakeReplay, events: list[tuple[str, Any]]
) -> None:
    replay = replay_of(build("build", "exit 1"), check(CheckName.BUILD, "fails", "exit 5"))
    await replay.run()
    started = [data["name"] for type_, data in events if type_ == "step_started"]
    assert sorted(started) == ["build", "fails"]
    assert outcomes(replay) == [("build", 1), ("fails", 5)]


async def test_artifacts_of_all_steps_are_in_one_sandbox(replay_of: MakeReplay) -> None:
    replay = replay_of(
        check(CheckName.BUILD, "one", "touch mark"),
        check(CheckName.BUILD, "two", "test -e mark"),
        artifacts=("mark",),
    )
    await replay.run()
    assert outcomes(replay) == [("one", 0), ("two", 0)]


async def test_broken_sandbox_ends_every_step(
    replay_of: MakeReplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = LocalSandbox.exec

    async def breaks(self: LocalSandbox, command: str, **options: Any) -> ExecResult:
        if command == "broken":
            raise SandboxLost("gone")
        return await original(self, command, **options)

    monkeypatch.setattr(LocalSandbox, "exec", breaks)
    replay = replay_of(
        check(CheckName.BUILD, "long", "sleep 60"), check(CheckName.BUILD, "broken", "broken")
    )
    with pytest.raises(SandboxLost, match="gone"):
        await asyncio.wait_for(replay.run(), 30)


async def test_the_output_of_a_job_is_bounded_as_it_is_stored(replay_of: MakeReplay) -> None:
    """A NUL takes six bytes in JSON, and an undecodable byte takes three."""
    zeros = "head -c 1048576 /dev/zero; head -c 1048576 /dev/zero | tr '\\0' '\\377' >&2"
    steps = [check(CheckName.BUILD, f"zeros {n}", zeros) for n in range(12)]
    limits = {"output_bytes": 2**20}
    replay = replay_of(*steps, limits=limits)
    await replay.run()
    json_bytes = sum(len(step.model_dump_json()) for step in replay.results)
    assert json_bytes < TOTAL_OUTPUT_BYTES * 1.01
    assert all(step.truncated and step.stdout and step.stderr for step in replay.results)
    step = replay.results[0]
    assert "characters left out]" in step.stdout
    assert json_size(step.stdout) > 2**20
    assert step.stdout_bytes == 2**20


async def test_output_of_ordinary_size_is_kept_whole(replay_of: MakeReplay) -> None:
    replay = replay_of(check(CheckName.BUILD, "lines", "yes | head -n 60000"))
    await replay.run()
    (step,) = replay.results
    assert (step.stdout, step.truncated) == ("y\n" * 60_000, False)


class CountingScrubber(Scrubber):
    """Counts the characters that it is given."""

    characters = 0

    def _spans(self, text: str) -> list[tuple[int, int]]:
        self.characters += len(text)
        return super()._spans(text)


async def test_only_what_is_kept_of_a_long_file_is_scrubbed(
    replay_of: MakeReplay, local: LocalSandbox
) -> None:
    replay = replay_of(PlannedStep(ReadFile(path="long")), limits={"output_bytes": 1_024})
    replay.scrubber = scrubber = CountingScrubber(["a-secret"])
    await local.write_file("long", "x" * 1_020 + "a-secret" + "x" * 1_000_000)
    await replay.run()
    (result,) = replay.results
    assert result.stdout == "x" * 1_020 + "***"
    assert (result.truncated, result.stdout_bytes) == (True, 1_001_028)
    assert scrubber.characters < 10_000


@pytest.mark.parametrize("tool", ["bun", "git"])
async def test_a_step_that_fails_without_a_tool_proves_nothing(
    replay_of: MakeReplay, local: LocalSandbox, tool: str
) -> None:
    """One of the strategy's own, and one that the project calls."""
    local.with_env("PATH", "/nowhere")
    missing = f"echo 'sh: 1: {tool}: not found' >&2; exit 1"
    replay = replay_of(
        check(CheckName.TESTS, "test", missing), check(CheckName.BUILD, "b", "exit 127")
    )
    replay.plan = dataclasses.replace(replay.plan, tools=("bun",))
    await replay.run()
    assert [step.status for step in replay.results] == ["skipped", "failed"]
    reason = f"it failed without {tool}, which the sandbox lacks"
    assert replay.results[0].skipped_reason == reason
    assert replay.missing_tools == {tool}


async def test_an_install_names_the_tools_that_it_calls(
    replay_of: MakeReplay, local: LocalSandbox
) -> None:
    """A plan lists the tools whose versions are shown, and an install may call others."""
    local.with_env("PATH", "/nowhere")
    setup = Exec(name="setup", command="command -v bun || npm install -g bun")
    replay = replay_of(PlannedStep(setup, install=True))
    await replay.run()
    (result,) = replay.results
    assert result.skipped_reason == "it failed without npm, which the sandbox lacks"


async def test_a_sandbox_that_a_step_broke_is_noticed(
    replay_of: MakeReplay, local: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after ``rm /bin/sh``: the steps after it say nothing."""
    original = LocalSandbox.exec

    async def exec_without_shell(self: LocalSandbox, command: str, **options: Any) -> ExecResult:
        return await original(self, "exit 127" if broken else command, **options)

    broken = False
    monkeypatch.setattr(LocalSandbox, "exec", exec_without_shell)
    replay = replay_of(*(build(name, "exit 127") for name in ("first", "second", "third")))

    def emit(type_: str, data: dict[str, Any]) -> None:
        nonlocal broken
        broken = broken or (type_, data["name"]) == ("step_started", "second")

    replay.emit = emit
    await replay.run()
    reason = "at second the sandbox runs no command any more, not even ':'"
    assert outcomes(replay) == [("first", 127), ("second", 127), ("third", None)]
    assert replay.results[2].skipped_reason == reason
    assert replay.notes == [f"{reason}: this step, or one before it, broke it"]


async def test_a_workdir_that_a_step_broke_fails_the_steps_after_it(
    replay_of: MakeReplay,
) -> None:
    replay = replay_of(
        PlannedStep(SetWorkdir(path="sub")),
        PlannedStep(Exec(command="cd .. && rm -rf sub && touch sub; exit 127")),
        PlannedStep(Exec(command="true")),
    )
    await replay.run()
    assert [step.status for step in replay.results] == ["passed", "failed", "failed"]
    assert "Not a directory" in replay.results[2].stderr
    assert replay.notes == []


async def test_words_do_not_make_a_tool_missing(replay_of: MakeReplay) -> None:
    """A project may print anything; the sandbox is asked."""
    replay = replay_of(
        check(CheckName.TESTS, "there", "echo 'sh: cat: not found' >&2; exit 127"),
        check(CheckName.TESTS, "unknown", "echo 'sh: protoc-gen-x: not found' >&2; exit 127"),
        PlannedStep(Exec(command="echo 'sh: bun: not found'; exit 1"), check=CheckName.COMMAND),
    )
    replay.plan = dataclasses.replace(replay.plan, tools=("cat", "bun"))
    await replay.run()
    assert [step.status for step in replay.results] == ["failed"] * 3


async def test_a_test_that_fails_without_its_service_proves_nothing(
    replay_of: MakeReplay,
) -> None:
    needs = NeededService(ServiceKind.MYSQL, "mysql:8.4", reason="it depends on mysql2")
    failing, passing = (check(CheckName.TESTS, c, c) for c in ("exit 1", "true"))
    replay = replay_of(*(dataclasses.replace(s, services=(needs,)) for s in (failing, passing)))
    await replay.run()
    assert [step.status for step in replay.results] == ["skipped", "passed"]
    assert replay.results[0].skipped_reason == (
        "it failed without mysql (it depends on mysql2); "
        "the local sandbox has no mysql: use the dagger sandbox"
    )


BUN = """#!/bin/sh
if [ -e ran ]; then echo "(pass) a > b [1ms]"; echo " 1 pass"; echo "Ran 1 test across 1 file."
exit; fi
touch ran; echo "(fail) a > b [1ms]"; echo " 3 pass"; echo " 1 fail"; exit 1
"""


@pytest.mark.parametrize(("flaky", "status"), [("fail", "failed"), ("pass", "passed")])
async def test_a_failed_test_runs_again_by_itself(
    replay_of: MakeReplay, local: LocalSandbox, flaky: str, status: str
) -> None:
    await local.write_file("bun", BUN, mode=0o755)
    command = 'PATH="$PWD:$PATH" bun test ./a.test.ts'
    replay = replay_of(check(CheckName.TESTS, "test", command), flaky=flaky)
    await replay.run()
    (step,) = replay.results
    assert step.status == status
    assert step.tests is not None
    assert (step.tests.passed, step.tests.failed, step.tests.flaky) == (4, 0, 1)
    assert step.tests.cases[0].name == "a > b"


WROTE = """<testsuites><testsuite name="a"><testcase name="x" classname="g"/>
<testcase name="y" classname="g"><failure message="no"/></testcase></testsuite></testsuites>"""


def reporting(command: str, options: str) -> PlannedStep:
    test_run = TestRun("bun:test", f"{command} {options}")
    return check(CheckName.TESTS, "test", command, test_run=test_run)


async def test_the_report_that_the_runner_wrote_is_counted(
    replay_of: MakeReplay, local: LocalSandbox
) -> None:
    await local.write_file("report.txt", WROTE)
    await local.write_file("run.sh", f'cp report.txt "{REPORT}.xml"; exit 1')
    replay = replay_of(reporting("sh run.sh", "--report"))
    await replay.run()
    (step,) = replay.results
    assert step.command == "sh run.sh"
    assert step.tests is not None
    assert (step.tests.source, step.tests.runner) == ("report", "bun:test")
    assert [(case.name, case.status) for case in step.tests.cases] == [
        ("g > y", "failed"),
        ("g > x", "passed"),
    ]


async def test_a_runner_that_knows_no_report_runs_without_one(
    replay_of: MakeReplay, local: LocalSandbox
) -> None:
    await local.write_file("run.sh", '[ -z "$1" ] || exit 9; echo "Ran 1 test across 1 file."')
    replay = replay_of(reporting("sh run.sh", "--report"))
    await replay.run()
    assert replay.results[0].exit_code == 0


async def test_tests_that_failed_without_a_report_are_not_run_until_they_pass(
    replay_of: MakeReplay, local: LocalSandbox
) -> None:
    """As where a project's own configuration has the runner write its report elsewhere."""
    await local.write_file("run.sh", BUN)
    replay = replay_of(reporting("sh run.sh", "--report"))
    await replay.run()
    (step,) = replay.results
    assert (step.status, step.exit_code) == ("failed", 1)
    assert step.tests is not None
    assert (step.tests.passed, step.tests.failed, step.tests.flaky) == (4, 0, 1)


async def test_report_and_summary_that_disagree_give_the_worse_counts_and_a_note(
    replay_of: MakeReplay, local: LocalSandbox
) -> None:
    await local.write_file("report.txt", WROTE)
    script = f'cp report.txt "{REPORT}.xml"; printf " 2 pass\\nRan 2 tests across 1 file.\\n"'
    await local.write_file("run.sh", script)
    replay = replay_of(reporting("sh run.sh", "--report"))
    await replay.run()
    (step,) = replay.results
    assert (step.status, step.exit_code) == ("failed", 0)
    assert replay.notes == [
        "test: 2 tests with 1 failure by its report, 2 tests with 0 failures by its printed "
        "summary; the worse counts"
    ]


async def test_a_command_that_hides_failures_proves_nothing_uncounted(
    replay_of: MakeReplay,
) -> None:
    hiding = TestRun(hides_failures=True)
    counted = check(CheckName.TESTS, "a", "echo 'ok | 1 passed' || true", test_run=hiding)
    uncounted = check(CheckName.TESTS, "b", "sh -c 'exit 3' || true", test_run=hiding)
    replay = replay_of(counted, uncounted)
    await replay.run()
    assert [step.status for step in replay.results] == ["passed", "skipped"]
    assert "exits with 0 even if tests fail" in (replay.results[1].skipped_reason or "")


async def test_cases_are_bounded_like_output(replay_of: MakeReplay, local: LocalSandbox) -> None:
    name = "n" * 250
    cases = "".join(
        f'<testcase name="{name}{n}"><failure>{"m" * 900}</failure></testcase>' for n in range(900)
    )
    await local.write_file("report.txt", f"<testsuite>{cases}</testsuite>")
    await local.write_file("run.sh", f'cp report.txt "{REPORT}.xml"; exit 1')
    replay = replay_of(reporting("sh run.sh", ""))
    await replay.run()
    tests = replay.results[0].tests
    assert tests is not None
    assert tests.failed == 900
    assert tests.cases_omitted == 900 - len(tests.cases)
    assert len(tests.model_dump_json()) < 3 * replay.job.limits.output_bytes
