"""Contract: the user that runs commands; file steps have the same rights."""

from pathlib import Path

import pytest

from revalid.worker.sandboxes.protocol import Sandbox, StepFailed
from tests.contract.checks import names, output

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_command_is_an_ordinary_users(sandbox: Sandbox) -> None:
    if sandbox.kind == "local":
        pytest.skip("the local sandbox's commands are the worker's user's")
    assert await output(sandbox, "id -u; id -g; id -G") == "1000\n1000\n1000\n"
    assert await output(sandbox, "grep -c '^[^:]*:[^:]*:1000:' /etc/passwd") == "1\n"
    assert await output(sandbox, "grep CapEff: /proc/self/status") == "CapEff:\t0000000000000000\n"


async def test_home_workspace_and_temporary_directory_are_writable(sandbox: Sandbox) -> None:
    for place in ("~", "~/.cache", ".", "${TMPDIR:-/tmp}"):
        assert await output(sandbox, f"mkdir -p {place}/new && echo x >{place}/new/file") == ""


async def test_commands_may_change_files_of_file_steps(sandbox: Sandbox, host: Path) -> None:
    (host / "up" / "deep").mkdir(parents=True)
    (host / "up" / "deep" / "private").write_text("1")
    (host / "up" / "deep" / "private").chmod(0o600)
    await sandbox.refresh_from_host(host, "refreshed/here")
    await sandbox.write_file("a/b/one", "1")
    await sandbox.write_files({"c/d/two": "1", "c/e/three": "1", "c/binary": b"\xff"})
    await sandbox.set_workdir("f/g")
    await output(
        sandbox,
        """
        cd ../..
        for file in refreshed/here/up/deep/private a/b/one c/d/two c/e/three; do
          printf 2 >>$file && test "$(cat $file)" = 12 && rm $file || exit 1
          : >$(dirname $file)/new && mkdir -p $(dirname $(dirname $file))/new || exit 1
        done
        : >f/g/new && rm -r a c f refreshed
        """,
    )
    await sandbox.set_workdir("/workspace")
    assert await names(sandbox) == []


async def test_file_steps_follow_no_link_to_protected_files(sandbox: Sandbox, host: Path) -> None:
    await output(sandbox, "ln -s /usr/bin link; ln -s /usr/bin/env tool")
    (host / "link").mkdir()
    (host / "link" / "new").write_text("of the project")
    with pytest.raises(StepFailed):
        await sandbox.write_file("link/new", "x")
    with pytest.raises(StepFailed):
        await sandbox.write_files({"link/new": "x", "link/env": b"\xff"})
    with pytest.raises(StepFailed):
        await sandbox.delete_file("link/env")
    with pytest.raises(StepFailed):
        await sandbox.set_workdir("link/new")
    with pytest.raises(StepFailed):
        await sandbox.refresh_from_host(host)
    assert await output(sandbox, "test ! -e /usr/bin/new && env true") == ""
