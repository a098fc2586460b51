"""Connections to a real engine, and to an engine that does not exist."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from revalid.jobs.errors import EngineUnavailable, InvalidJob, SandboxLost
from revalid.jobs.job import DEFAULT_IMAGE
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from tests.conftest import RUNNER_HOST

pytestmark = [pytest.mark.dagger, pytest.mark.asyncio(loop_scope="session")]


def sessions(of: int | None = None) -> list[psutil.Process]:
    """Return the session processes of a process."""
    children = psutil.Process(of).children(recursive=True)
    return [child for child in children if "session" in child.cmdline()]


@pytest_asyncio.fixture(loop_scope="session")
async def engine() -> AsyncIterator[Engine]:
    """Yield an engine connection of the test's own."""
    before = sessions()
    engine = Engine(timeout_s=30)
    yield engine
    await engine.close()
    assert sessions() == before


async def test_connection_is_kept(engine: Engine) -> None:
    client = await engine.client()
    assert await engine.client() is client
    assert (await engine.call(client.version())).startswith("v")


async def test_lost_session_fails_the_call_and_is_reopened(engine: Engine) -> None:
    before = sessions()
    sandbox = await DaggerSandbox.open(engine, DEFAULT_IMAGE)
    (session,) = (process for process in sessions() if process not in before)
    running = asyncio.create_task(sandbox.exec("sleep 60"))
    await asyncio.sleep(0)
    session.kill()
    with pytest.raises(SandboxLost):
        await asyncio.wait_for(running, 10)
    await sandbox.close()
    again = await DaggerSandbox.open(engine, DEFAULT_IMAGE)
    assert (await again.exec("true")).exit_code == 0
    await again.close()


async def test_missing_engine_is_reported_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(RUNNER_HOST, "unix:///nowhere/engine.sock")
    before = sessions()
    engine = Engine(timeout_s=3)
    with pytest.raises(EngineUnavailable, match="revalid doctor"):
        await asyncio.wait_for(engine.client(), 15)
    assert sessions() == before


async def test_missing_cli_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_EXPERIMENTAL_DAGGER_CLI_BIN", "/nowhere/dagger")
    with pytest.raises(EngineUnavailable, match="is not a program"):
        await Engine(timeout_s=3).client()


async def test_image_is_pinned_to_its_digest(engine: Engine) -> None:
    assert "@sha256:" in await engine.pin(DEFAULT_IMAGE)


async def test_a_tools_image_that_cannot_be_pulled_is_named() -> None:
    engine = Engine(timeout_s=30, tools_image="busybox:no-such-tag")
    try:
        with pytest.raises(
            SandboxLost, match=r"REVALID_TOOLS_IMAGE busybox:no-such-tag: .*not found"
        ):
            await engine.base(DEFAULT_IMAGE)
    finally:
        await engine.close()


async def test_a_tag_is_resolved_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    resolutions: list[tuple[str, str]] = []
    engine = Engine(timeout_s=30, on_resolved=lambda *words: resolutions.append(words))
    try:
        pinned = await engine.pin(DEFAULT_IMAGE)
        base = await engine.base(DEFAULT_IMAGE)
        assert await engine.pin(DEFAULT_IMAGE) == await engine.pin(pinned) == pinned
        assert resolutions == [(DEFAULT_IMAGE, pinned.partition("@")[2])]
        monkeypatch.setattr("revalid.worker.sandboxes.dagger.engine.RESOLVE_EVERY_S", 0)
        assert await engine.base(DEFAULT_IMAGE) is base
        assert resolutions[1:] == resolutions[:1]
        assert await engine.pin(pinned) == pinned
        assert len(resolutions) == 2, "a digest names one image forever"
    finally:
        await engine.close()


async def test_the_last_digest_stands_while_the_registry_is_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.client()
    away = "127.0.0.1:1/app:1"
    monkeypatch.setattr(engine, "_pinned", {away: ("known", time.monotonic() - 10_000)})
    assert await engine.pin(away) == "known"


async def test_unknown_image_is_the_jobs_fault(engine: Engine) -> None:
    with pytest.raises(InvalidJob, match="no-such-tag"):
        await engine.pin("node:no-such-tag")


async def test_registry_that_does_not_answer_is_not_the_jobs_fault(engine: Engine) -> None:
    with pytest.raises(SandboxLost, match="could not be pulled"):
        await engine.pin("127.0.0.1:1/app:1")


async def test_session_ends_with_a_killed_process() -> None:
    code = """
import asyncio
from revalid.worker.sandboxes.dagger.engine import Engine
async def main():
    await Engine(timeout_s=30).client()
    print("open", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    (session,) = sessions(process.pid)
    process.kill()
    await process.wait()
    deadline = time.monotonic() + 10
    while session.is_running() and session.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the session outlived its process"
        await asyncio.sleep(0.05)
