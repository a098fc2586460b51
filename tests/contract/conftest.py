"""The sandboxes under the contract: every test runs on each kind."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from revalid.jobs.job import DEFAULT_IMAGE
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import Sandbox


class Opener(Protocol):
    """Opens sandboxes that are closed when the test ends."""

    async def __call__(self, *, protected: tuple[str, ...] = ()) -> Sandbox: ...


Forker = Callable[[Sandbox], Awaitable[Sandbox]]


@pytest.fixture(params=["local", "bubblewrap", pytest.param("dagger", marks=pytest.mark.dagger)])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of sandbox under test; the local one with and without bubblewrap."""
    kind: str = request.param
    if kind == "bubblewrap" and not bubblewrap.works():
        pytest.skip("NO BUBBLEWRAP: install bwrap, and allow it to make namespaces")
    return kind


@pytest.fixture
def engine(kind: str, request: pytest.FixtureRequest) -> Engine | None:
    """Return the engine that the sandbox uses; None for the local one."""
    if kind != "dagger":
        return None
    engine: Engine = request.getfixturevalue("dagger_engine")
    return engine


@pytest_asyncio.fixture(loop_scope="session")
async def closing() -> AsyncIterator[AsyncExitStack]:
    """Yield a stack that is closed when the test ends."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def open_sandbox(
    kind: str, engine: Engine | None, closing: AsyncExitStack, tmp_path: Path
) -> Opener:
    """Return a function that opens a sandbox of the kind under test."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    async def opener(*, protected: tuple[str, ...] = ()) -> Sandbox:
        sandbox: Sandbox
        if engine is not None:
            sandbox = await DaggerSandbox.open(engine, DEFAULT_IMAGE, protected=protected)
        else:
            jailed = kind == "bubblewrap"
            sandbox = LocalSandbox(
                passthrough={}, scratch=scratch, protected=protected, jailed=jailed
            )
        closing.push_async_callback(sandbox.close)
        return sandbox

    return opener


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(open_sandbox: Opener) -> Sandbox:
    """Return a new sandbox."""
    return await open_sandbox()


@pytest.fixture
def fork(closing: AsyncExitStack) -> Forker:
    """Return a function that forks a sandbox; the fork is closed when the test ends."""

    async def forker(sandbox: Sandbox) -> Sandbox:
        child = await sandbox.fork()
        closing.push_async_callback(child.close)
        return child

    return forker


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return an empty directory of the host, outside every sandbox."""
    directory = tmp_path / "host"
    directory.mkdir()
    return directory
