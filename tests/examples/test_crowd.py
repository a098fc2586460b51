"""The web examples under load: a small run of ``python -m benchmarks.web``."""

from pathlib import Path

import pytest

from benchmarks.backends import COMMANDS
from benchmarks.web import broker, measure

NUMBER = 40


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
async def test_no_submit_and_no_event_is_lost_under_load(name: str, tmp_path: Path) -> None:
    with broker(tmp_path) as settings:
        found = await measure(name, settings, tmp_path, NUMBER)
    assert len(found.submits) == len(found.busy_submits) == len(found.delays) == NUMBER
    assert f"submits, {NUMBER} at once" in str(found)
