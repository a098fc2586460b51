"""Results of steps from their outcomes in the sandbox."""

from revalid.jobs.result import StepResult
from revalid.jobs.steps import Exec
from revalid.worker.run.step_results import command_result
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS
from revalid.worker.sandboxes.protocol import ExecResult, Stream
from revalid.worker.secrets import Scrubber

EMPTY = Stream(b"", b"", 0)


def result_of(exec_result: ExecResult) -> StepResult:
    step = Exec(command="npm ci")
    return command_result("install", step, exec_result, Scrubber(()), DEFAULT_LIMITS)


def test_a_replayed_step_reports_the_time_that_it_saved() -> None:
    step = result_of(ExecResult(0, EMPTY, EMPTY, 7.7, cached=True))
    assert (step.cached, step.duration_s, step.saved_s) == (True, 0.0, 7.7)


def test_a_step_that_ran_took_its_time() -> None:
    step = result_of(ExecResult(0, EMPTY, EMPTY, 7.7))
    assert (step.cached, step.duration_s, step.saved_s) == (False, 7.7, 0.0)
