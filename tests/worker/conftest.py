"""Fixtures of the worker's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from revalid.worker.sandboxes.local.sandbox import LocalSandbox


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalSandbox]:
    """A sandbox with one protected directory, the only one below ``scratch``; no bubblewrap."""
    (tmp_path / "scratch").mkdir()
    made = LocalSandbox(
        passthrough={"PASSED": "on"},
        scratch=tmp_path / "scratch",
        protected=("vault/*",),
        jailed=False,
    )
    yield made
    await made.close()


@pytest.fixture
def directory(local: LocalSandbox, tmp_path: Path) -> Path:
    """The directory of ``local``."""
    (found,) = (tmp_path / "scratch").iterdir()
    return found
