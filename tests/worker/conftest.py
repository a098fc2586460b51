"""Fixtures of the worker's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from revalid.worker.sandboxes.local.sandbox import LocalSandbox


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalSandbox]:
    """Yield a sandbox with a protected directory, without bubblewrap, alone below ``scratch``."""
    (tmp_path / "scratch").mkdir()
    sandbox = LocalSandbox(
        passthrough={"PASSED": "on"},
        scratch=tmp_path / "scratch",
        protected=("vault/*",),
        jailed=False,
    )
    yield sandbox
    await sandbox.close()


@pytest.fixture
def directory(local: LocalSandbox, tmp_path: Path) -> Path:
    """Return the directory of ``local``."""
    (path,) = (tmp_path / "scratch").iterdir()
    return path
