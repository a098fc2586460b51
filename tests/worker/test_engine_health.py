"""Which canaries keep a worker from taking jobs; ``integration/test_worker`` has it whole."""

import json

import pytest

from revalid.worker.engine_health import read_health_check

PINNED = "node@sha256:0"


@pytest.mark.parametrize(
    ("ok", "engine", "image", "held"),
    [
        (True, "v1", PINNED, False),
        (False, None, None, True),  # no engine
        (False, "v1", None, False),  # no such image, or no registry
        (False, "v1", PINNED, True),  # the command did not run
    ],
)
def test_an_engine_that_runs_nothing_is_held_back(
    ok: bool, engine: str | None, image: str | None, held: bool
) -> None:
    found = {"ok": ok, "engine": engine, "image": image, "error": None if ok else "why"}
    assert read_health_check(json.dumps(found).encode()) == ("why" if held else None)


def test_a_canary_that_said_nothing_holds_back() -> None:
    assert read_health_check(b"") == "its canary did not end"
