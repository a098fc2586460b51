"""Results of steps from their outcomes in the sandbox."""

from revalid.jobs.result import StepResult
from revalid.jobs.steps import Exec, ReadFile
from revalid.worker.run.step_results import command_result, file_result
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


def test_an_error_that_names_a_file_in_another_encoding_can_be_stored() -> None:
    error = "read_file \udcff: Permission denied"
    step = file_result("read", ReadFile(path="x"), 1, EMPTY, error, Scrubber(()), 0.0)
    assert StepResult.model_validate_json(step.model_dump_json()).stderr == error.replace(
        "\udcff", "?"
    )
