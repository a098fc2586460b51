"""What bubblewrap adds to the local sandbox."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from jobs.job import LimitName
from tests.contract.checks import output
from worker import bubblewrap
from worker.local_sandbox import LocalSandbox


def on_the_host(path: str) -> bool:
    return Path(path).exists()


@pytest.fixture
def private() -> Iterator[Path]:
    """A directory of the worker that commands shall not see."""
    # Not below /tmp, which is hidden anyway.
    place = Path("/var/tmp") / f"revalid-test-{secrets.token_hex(8)}"
    place.mkdir()
    (place / "secret").write_text("of the worker")
    yield place
    (place / "secret").unlink()
    place.rmdir()


@pytest_asyncio.fixture
async def jailed(tmp_path: Path, private: Path) -> AsyncIterator[LocalSandbox]:
    """A sandbox in bubblewrap."""
    if not bubblewrap.works():
        pytest.skip("NO BUBBLEWRAP: install bwrap, and allow it to make namespaces")
    sandbox = LocalSandbox(passthrough={}, scratch=tmp_path, hidden=(private,), jailed=True)
    yield sandbox
    await sandbox.close()


async def test_only_the_sandbox_is_writable(jailed: LocalSandbox, private: Path) -> None:
    assert await output(jailed, 'echo x >here; echo x >"$HOME/home"; echo x >/tmp/shared') == ""
    for path in ("/etc/x", "/dev/x", "/var/tmp/x", f"{private}/x", "/run/x"):
        assert (await jailed.exec(f": >{path}")).exit_code != 0, path
    assert await output(jailed, "cat /tmp/shared") == "x\n"
    assert not on_the_host("/tmp/shared")


async def test_what_is_hidden_is_not_seen(jailed: LocalSandbox, private: Path) -> None:
    assert (await jailed.exec(f"cat {private}/secret")).exit_code == 1
    (private / "secret").read_text()
    jailed._hidden = ()
    assert await output(jailed, f"cat {private}/secret") == "of the worker"


async def test_what_is_hidden_may_lie_in_what_is_hidden(
    jailed: LocalSandbox, private: Path
) -> None:
    (private / "home").mkdir()
    jailed._hidden = (private / "home", private)
    assert await output(jailed, f"ls {private}; echo runs") == "runs\n"
    (private / "home").rmdir()


async def test_commands_have_no_capability_and_see_their_own_processes(
    jailed: LocalSandbox,
) -> None:
    assert await output(jailed, "grep CapEff /proc/self/status") == f"CapEff:\t{'0' * 16}\n"
    assert int(await output(jailed, "ls -d /proc/[0-9]* | wc -l")) < 10


@pytest.mark.parametrize("jailed", [False, True])
async def test_limits_that_hold(tmp_path: Path, jailed: bool) -> None:
    sandbox = LocalSandbox(passthrough={}, scratch=tmp_path, jailed=jailed)
    await sandbox.close()
    bare = {LimitName.TIME, LimitName.OUTPUT, LimitName.CPU}
    assert sandbox.enforced == (set(LimitName) if jailed else bare)


def test_bubblewrap_that_does_not_work_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    bubblewrap.works.cache_clear()
    try:
        monkeypatch.setattr(bubblewrap, "jail", lambda directory: ("false",))
        assert not bubblewrap.works()
        bubblewrap.works.cache_clear()
        monkeypatch.setenv("PATH", "/nowhere")
        assert not bubblewrap.works()
    finally:
        bubblewrap.works.cache_clear()
