"""File operations while another process changes links."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from revalid.worker.file_trees import remove_tree, walk
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import StepFailed

SECRET = "secret of the worker"
ROUNDS = 400
SWAP = """
import ctypes, sys
exchange, here = ctypes.CDLL(None).renameat2, -100
while True:
    exchange(here, b"link", here, b"place", 2)
"""

OPERATIONS: dict[str, Callable[[LocalSandbox, Path], Awaitable[object]]] = {
    "read_file": lambda sandbox, _: sandbox.read_file("place/file"),
    "write_file": lambda sandbox, _: sandbox.write_file("place/new", "x"),
    "delete_file": lambda sandbox, _: sandbox.delete_file("place/file"),
    "set_workdir": lambda sandbox, _: sandbox.set_workdir("/workspace/place/made"),
    "export_directory": lambda sandbox, out: sandbox.export_directory(".", out),
    "export_matching": lambda sandbox, out: sandbox.export_matching(("**",), out, most_bytes=1_000),
}


@contextmanager
def swapping(directory: Path, host: Path) -> Iterator[None]:
    """Exchange the directory ``place`` and a link to the host in a loop.

    A command of another sandbox can do this if it got the directory through a socket.
    """
    (directory / "place").mkdir()
    (directory / "place" / "file").write_text("own")
    (directory / "link").symlink_to(host)
    process = subprocess.Popen([sys.executable, "-c", SWAP], cwd=directory)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "file").write_text(SECRET)
    return directory


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2")
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_no_operation_follows_a_link_that_changes(
    local: LocalSandbox, directory: Path, host: Path, tmp_path: Path, operation: str
) -> None:
    with swapping(directory / "root" / "workspace", host):
        for number in range(ROUNDS // 5 if "export" in operation else ROUNDS):
            out = tmp_path / f"out-{number}"
            with suppress(StepFailed):
                content = await OPERATIONS[operation](local, out)
                assert content != SECRET.encode()
            copied = [path for path, _ in walk(out)] if out.exists() else []
            for path in copied:
                copy = out / path
                assert not copy.is_file() or copy.read_text() != SECRET or copy.is_symlink()
    assert [path for path, _ in walk(host)] == ["file"]
    assert (host / "file").read_text() == SECRET


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2")
def test_walk_and_removal_follow_no_link_that_changes(tmp_path: Path, host: Path) -> None:
    (host / "shut").mkdir(mode=0o500)
    for number in range(ROUNDS // 8):
        tree = tmp_path / f"tree-{number}"
        tree.mkdir()
        with swapping(tree, host):
            for _ in range(20):
                assert "place/shut" not in {path for path, _ in walk(tree)}
            with suppress(OSError):
                remove_tree(tree)
        assert (host / "shut").stat().st_mode & 0o777 == 0o500
        assert host.stat().st_mode & 0o777 == 0o755
    assert (host / "file").read_text() == SECRET
