"""Contract: no operation reaches outside, and protected files do not change."""

import posixpath
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from revalid.worker.sandboxes.protocol import WORKDIR, Sandbox, StepFailed, resolve
from tests.contract.checks import names, output
from tests.contract.conftest import Opener

pytestmark = pytest.mark.asyncio(loop_scope="session")

CANARY = "host canary: no sandbox may read or change this"
GLOBS = ("locked.txt", "./vault/*", "deep/**/fixed", "*.lock", "/tmp/held")

OPERATIONS: dict[str, Callable[[Sandbox, str, Path], Awaitable[object]]] = {
    "write_file": lambda sandbox, path, _: sandbox.write_file(path, "x"),
    "write_files": lambda sandbox, path, _: sandbox.write_files({path: "x"}),
    "read_file": lambda sandbox, path, _: sandbox.read_file(path),
    "delete_file": lambda sandbox, path, _: sandbox.delete_file(path),
    "list_directory": lambda sandbox, path, _: sandbox.list_directory(path),
    "set_workdir": lambda sandbox, path, _: sandbox.set_workdir(path),
    "export_directory": lambda sandbox, path, host: sandbox.export_directory(path, host / "out"),
    "refresh_from_host": lambda sandbox, path, host: sandbox.refresh_from_host(host, path),
}


@pytest.mark.parametrize("path", ["../../x", "a/../../../x", "/..", "/workspace/../../etc/passwd"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_dots_do_not_leave(sandbox: Sandbox, host: Path, operation: str, path: str) -> None:
    with pytest.raises(StepFailed):
        await OPERATIONS[operation](sandbox, path, host)
    assert sandbox.workdir == "/workspace"
    assert on_host(host) == {}


async def test_dots_inside_the_sandbox_are_allowed(sandbox: Sandbox) -> None:
    await sandbox.write_file("a/../b/./c//d", "x")
    assert await sandbox.read_file("/workspace/b/c/d") == b"x"
    assert await names(sandbox) == ["b"]


def on_host(directory: Path) -> dict[str, str]:
    """Return the content of a host directory's files, by name."""
    return {path.name: path.read_text() for path in directory.glob("*") if path.is_file()}


@pytest.fixture
def canary(host: Path) -> Path:
    """Return a file of the host that no sandbox may reach."""
    file = host / "canary"
    file.write_text(CANARY)
    return file


async def test_link_to_a_host_file_is_not_followed(sandbox: Sandbox, canary: Path) -> None:
    sandbox.with_env("CANARY", str(canary))
    await output(sandbox, 'ln -s "$CANARY" link')
    with pytest.raises(StepFailed):
        await sandbox.read_file("link")
    with suppress(StepFailed):
        await sandbox.write_file("link", "overwritten")
    with suppress(StepFailed):
        await sandbox.write_files({"link": "overwritten"})
    await sandbox.delete_file("link")
    assert await names(sandbox) == []
    assert on_host(canary.parent) == {"canary": CANARY}


async def test_link_to_a_host_directory_is_not_followed(
    sandbox: Sandbox, canary: Path, tmp_path: Path
) -> None:
    sandbox.with_env("HOST", str(canary.parent))
    await output(sandbox, 'ln -s "$HOST" link')
    source = tmp_path / "source"
    (source / "link").mkdir(parents=True)
    (source / "link" / "canary").write_text("overwritten")
    for operation in OPERATIONS:
        with suppress(StepFailed):
            await OPERATIONS[operation](sandbox, "link/new", source)
    with suppress(StepFailed):
        assert "canary" not in await names(sandbox, "link")
    with suppress(StepFailed):
        assert await sandbox.read_file("link/canary") != CANARY.encode()
    with suppress(StepFailed):
        await sandbox.delete_file("link/canary")
    with suppress(StepFailed):
        await sandbox.export_directory("link", tmp_path / "exported")
    with suppress(StepFailed):
        await sandbox.refresh_from_host(source)
    assert on_host(canary.parent) == {"canary": CANARY}
    assert CANARY not in on_host(tmp_path / "exported").values()


async def test_link_within_the_sandbox_is_followed(sandbox: Sandbox) -> None:
    await sandbox.write_file("real/file", "x")
    await output(sandbox, "ln -s real/file link; ln -s real dirlink")
    assert await sandbox.read_file("link") == b"x"
    assert await sandbox.read_file("dirlink/file") == b"x"
    await sandbox.write_file("dirlink/new", "y")
    assert await output(sandbox, "cat real/new") == "y"


@pytest.mark.parametrize(
    "path",
    [
        "locked.txt",
        "./locked.txt",
        "x/../locked.txt",
        "/workspace/locked.txt",
        "../workspace/locked.txt",
        "vault/file",
        "vault/in/nested/file",
        "deep/a/b/fixed",
        "sub/locked.txt",
        "sub/package.lock",
        "/tmp/held",
    ],
)
async def test_protected_files_stay(open_sandbox: Opener, path: str) -> None:
    sandbox = await open_sandbox(protected=GLOBS)
    sandbox.with_env("FILE", "./" + posixpath.relpath(resolve(WORKDIR, path), WORKDIR))
    await output(sandbox, 'mkdir -p "${FILE%/*}" && echo original > "$FILE"')
    with pytest.raises(StepFailed, match=r"write_file .*protected"):
        await sandbox.write_file(path, "changed")
    with pytest.raises(StepFailed, match=r"write_files .*protected"):
        await sandbox.write_files({"other": "x", path: "changed"})
    with pytest.raises(StepFailed, match=r"delete_file .*protected"):
        await sandbox.delete_file(path)
    assert "other" not in await names(sandbox)
    assert await sandbox.read_file(path) == b"original\n"


async def test_protection_follows_the_files_and_not_the_workdir(open_sandbox: Opener) -> None:
    sandbox = await open_sandbox(protected=("vault/*",))
    await sandbox.set_workdir("vault")
    with pytest.raises(StepFailed, match="protected"):
        await sandbox.write_file("file", "x")
    await sandbox.set_workdir("/workspace/sub")
    await sandbox.write_file("vault/file", "free")
    assert await sandbox.read_file("vault/file") == b"free"


async def test_forks_protect_the_same_files(open_sandbox: Opener) -> None:
    child = await (await open_sandbox(protected=GLOBS)).fork()
    try:
        with pytest.raises(StepFailed, match="protected"):
            await child.write_file("locked.txt", "x")
        await child.write_file("free.txt", "x")
    finally:
        await child.close()
