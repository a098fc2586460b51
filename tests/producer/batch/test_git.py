"""Projects from Git URLs: Git's errors, and clones that are stopped."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from revalid.jobs.errors import InvalidProject
from revalid.producer.batch import git as module
from revalid.producer.batch.git import Stopped, checkout


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"git://127.0.0.1:{server.getsockname()[1]}/project"


@pytest.fixture
def fake_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a shell script in git's place."""

    def put(script: str) -> None:
        path = tmp_path / "bin" / "git"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")

    return put


def test_a_branch_is_checked_out(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    subprocess.run(["git", "init", "-q", "-b", "side", str(origin)], check=True)
    (origin / "file").write_text("x")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    with checkout(f"file://{origin}#side") as path:
        assert (path / "file").read_text() == "x"
    assert not path.exists()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of the directory ``repositories`` on a Git server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    root = tmp_path / "repositories"
    root.mkdir()
    options = [f"--port={port}", "--listen=127.0.0.1", f"--base-path={root}", "--export-all"]
    command = ["git", "daemon", *options, "--reuseaddr", str(root)]
    with subprocess.Popen(command, start_new_session=True) as daemon:
        try:
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
            yield f"git://127.0.0.1:{port}"
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)


def commit(root: Path, **submodules: str) -> None:
    """Make a repository with a file and submodules, whose URLs are as given."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    git = ["git", *who, "-C", str(root)]
    (root / "file").write_text(root.name)
    for name, url in submodules.items():
        origin = root.parent / name
        subprocess.run([*git, "submodule", "--quiet", "add", str(origin), name], check=True)
        subprocess.run([*git, "config", "-f", ".gitmodules", f"submodule.{name}.url", url])
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)


def test_submodules_of_the_same_server_are_fetched(served: str, tmp_path: Path) -> None:
    repositories = tmp_path / "repositories"
    commit(repositories / "inner")
    commit(repositories / "lib", inner=f"{served}/inner")
    commit(repositories / "elsewhere")
    commit(repositories / "app", lib="../lib", elsewhere=f"file://{repositories}/elsewhere")
    with checkout(f"{served}/app") as path:
        assert (path / "lib" / "file").read_text() == "lib"
        assert (path / "lib" / "inner" / "file").read_text() == "inner"
        assert list((path / "elsewhere").iterdir()) == []


def test_a_submodule_is_fetched_without_credentials(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repositories = tmp_path / "repositories"
    commit(repositories / "private")
    host = served.removeprefix("git://")
    commit(repositories / "app", private=f"git://{host}/hidden")
    (tmp_path / ".gitconfig").write_text(f'[url "{served}/private"]\ninsteadOf={served}/hidden\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    with checkout(f"{served}/app") as path:
        assert not (path / "private" / "file").exists()


def test_the_last_tag_is_there_where_a_file_reads_git(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    commit(origin)
    subprocess.run(["git", "-C", str(origin), "tag", "v1"], check=True)
    for text in ("plain", "git describe"):
        (origin / "version.sh").write_text(text)
        commit(origin)
        with checkout(f"file://{origin}") as path:
            command = ["git", "-C", str(path), "tag"]
            tags = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert tags.split() == (["v1"] if text == "git describe" else [])


def test_no_program_that_a_url_names_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    helper = tmp_path / "bin" / "git-remote-other"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\n: >{started}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}{os.pathsep}{os.environ['PATH']}")
    for url in ("other::x", f"ext::sh -c :>{started}"):
        with pytest.raises(InvalidProject, match="not allowed"):
            checkout(url).__enter__()
    assert not started.exists()


def test_the_reason_is_the_line_that_gits_advice_follows(fake_git: Callable[[str], None]) -> None:
    fake_git(
        "printf 'warning: x\\nfatal: no such host\\n\\nand the repository exists.\\n' >&2; exit 128"
    )
    with pytest.raises(InvalidProject, match=r"git clone failed: fatal: no such host$"):
        checkout("https://example.org/x").__enter__()


def test_a_url_with_a_nul_is_refused() -> None:
    with pytest.raises(InvalidProject, match="a URL must not contain a NUL"):
        checkout("https://example.org/\0").__enter__()


def test_a_clone_ends_when_it_is_stopped(deaf: str) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    before = time.monotonic()
    with pytest.raises(Stopped):
        checkout(deaf, stop).__enter__()
    assert time.monotonic() - before < 10


def test_a_clone_is_bounded(
    fake_git: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_git(f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    monkeypatch.setattr(module, "CLONE_TIMEOUT_S", 0.5)
    with pytest.raises(InvalidProject, match=r"not cloned within 0\.5 s"):
        checkout("https://example.org/x").__enter__()
    with suppress(psutil.NoSuchProcess):
        helper = psutil.Process(int((tmp_path / "pid").read_text()))
        while helper.status() != psutil.STATUS_ZOMBIE:
            psutil.wait_procs([helper], timeout=0.05)
