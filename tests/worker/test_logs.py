"""Format of log lines."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from revalid.jobs.settings import LogFormat
from revalid.worker.logs import configure_logging

log = logging.getLogger("revalid.test")


@pytest.fixture(autouse=True)
def logging_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("", "multiprocessing"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [])
        for field in ("level", "propagate"):
            monkeypatch.setattr(logger, field, getattr(logger, field))
    yield
    logging.captureWarnings(False)


def fail(value: str) -> None:
    raise ValueError(f"it has {len(value)} letters")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_shows_no_values(
    capfd: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    configure_logging(log_format, logging.INFO)
    try:
        fail("hunter2" * 2)
    except ValueError:
        log.exception("it failed")
    written = capfd.readouterr().err
    assert "Traceback" in written
    assert "it has 14 letters" in written
    assert "hunter2hunter2" not in written


def test_a_line_break_does_not_end_a_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", logging.INFO)
    with structlog.contextvars.bound_contextvars(job_id="1"):
        log.warning("a\n%s", "b")
    log.debug("not wanted")
    (line,) = capfd.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["job_id"]) == ("a\nb", "warning", "1")
