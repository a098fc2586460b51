"""Health checks that stop a worker from taking jobs; ``integration`` tests whole workers."""

import json

import pytest

from revalid.worker.engine_health import read_health_check

PINNED = "node@sha256:0"


@pytest.mark.parametrize(
    ("ok", "engine", "image", "fault"),
    [
        (True, "v1", PINNED, False),
        (False, None, None, True),  # no engine
        (False, "v1", None, False),  # no such image, or no registry
        (False, "v1", PINNED, True),  # the command did not run
    ],
)
def test_an_engine_that_runs_nothing_is_not_given_jobs(
    ok: bool, engine: str | None, image: str | None, fault: bool
) -> None:
    found = {"ok": ok, "engine": engine, "image": image, "error": None if ok else "why"}
    assert read_health_check(json.dumps(found).encode()) == ("why" if fault else None)


def test_a_health_check_without_a_report_stops_the_worker() -> None:
    assert read_health_check(b"") == "its health check did not end"
