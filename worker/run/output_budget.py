"""Bounds what the results of one job keep of its output, as bytes of JSON."""

from revalid.jobs.encoding import json_size, within
from revalid.jobs.result import StepResult, TestCase, TestReport

TOTAL_OUTPUT_BYTES = 8 * 2**20
_MIN_OUTPUT_BYTES = 1_024


class OutputBudget:
    """What the results of a job may still keep; fewer bytes after steps that had much output.

    Args:
        steps: The number of the job's steps.
        stream_bytes: The job's own limit for a stream.
    """

    def __init__(self, steps: int, stream_bytes: int) -> None:
        self._stream_bytes = stream_bytes
        self._least = min(_MIN_OUTPUT_BYTES, TOTAL_OUTPUT_BYTES // (4 * max(1, steps)))
        self._left = TOTAL_OUTPUT_BYTES

    @property
    def stream_cap(self) -> int:
        """The bytes to keep of a stream of the next command."""
        return max(self._least, min(self._stream_bytes, self._left // 4))

    def bounded(self, result: StepResult) -> StepResult:
        """Return a result cut to twice the cap, streams and cases; it uses up the budget."""
        max_bytes = 2 * self.stream_cap
        if result.tests is not None and result.tests.cases:
            tests = _within(result.tests, max_bytes)
            self._left -= len(tests.model_dump_json())
            result = result.model_copy(update={"tests": tests})
        streams = {name: within(getattr(result, name), max_bytes) for name in ("stdout", "stderr")}
        self._left -= sum(map(json_size, streams.values()))
        cut = any(text != getattr(result, name) for name, text in streams.items())
        return result.model_copy(update={**streams, "truncated": result.truncated or cut})


def _within(tests: TestReport, max_bytes: int) -> TestReport:
    """Return a report with as many cases as fit into some bytes of JSON."""
    kept: list[TestCase] = []
    for case in tests.cases:
        max_bytes -= len(case.model_dump_json())
        if max_bytes < 0:
            break
        kept.append(case)
    omitted = tests.cases_omitted + len(tests.cases) - len(kept)
    return tests.model_copy(update={"cases": tuple(kept), "cases_omitted": omitted})
