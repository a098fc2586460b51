"""What Git tracks, and the copy of a repository that is packed where files ask for Git."""

import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from revalid.jobs.projects.git_checkout import (
    Tracked,
    asks_for_git,
    copy_repository,
    tracked,
)
from revalid.jobs.projects.tarball import Bounds, pack

BOUNDS = Bounds(files=1_000, bytes=1_000_000)
DATE = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}


def git(root: Path, *arguments: str) -> str:
    """Run git as somebody at a fixed time; return what it prints."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    command = ["git", *who, "-C", str(root), *arguments]
    environ = {"PATH": "/usr/bin:/bin", **DATE}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout


def checkout(root: Path, *tags: str, asks: str = "git rev-parse HEAD") -> Path:
    """Make a checkout with a commit for each tag, and one more."""
    root.mkdir()
    git(root, "init")
    (root / "build.sh").write_text(asks)
    git(root, "remote", "add", "origin", "https://user:token@example.org/x.git")
    for tag in (*tags, ""):
        git(root, "add", "-A")
        git(root, "commit", "--allow-empty", "-m", f"to {tag}")
        if tag:
            git(root, "tag", tag)
    return root


def test_a_directory_without_tracked_files_is_no_checkout(tmp_path: Path) -> None:
    assert tracked(tmp_path) == Tracked(frozenset(), frozenset())
    git(tmp_path, "init")
    assert tracked(tmp_path) == Tracked(frozenset(), frozenset())


def test_tracked_files_are_relative_to_the_directory(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a")
    (root / "sub").mkdir()
    (root / "sub" / "ü b.txt").write_text("")
    git(root, "add", "-A")
    assert tracked(root / "sub").files == {"ü b.txt"}


def test_what_a_submodule_tracks_is_tracked(tmp_path: Path) -> None:
    other, root = checkout(tmp_path / "other"), checkout(tmp_path / "a")
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", str(other), "sub")
    found = tracked(root)
    assert found.submodules == {"sub"}
    assert {f"sub/{name}" for name in tracked(other).files} <= found.files


@pytest.mark.parametrize(
    ("name", "text", "asks"),
    [
        ("stamp.js", "execSync('git rev-parse HEAD')", True),
        ("stamp.js", 'execFileSync("git", ["log"])', True),
        ("pyproject.toml", 'requires = ["setuptools-scm>=8"]', True),
        ("package.json", '{"scripts": {"prepare": "husky"}}', True),
        ("Makefile", "VERSION := $(shell git describe)", True),
        ("index.js", "execSync('git -C . --no-pager rev-list --count HEAD')", True),
        ("index.js", "spawnSync('git', arguments)", True),
        ("index.js", "readFileSync('.git/HEAD')", True),
        ("test_a.py", "check_output(['git', 'rev-parse', 'HEAD'])", True),
        ("bin/version", "git log -1", True),
        ("app.gemspec", "`git ls-files -z`", True),
        ("version.py", "import git\n", True),
        ("package.json", '{"devDependencies": {"git-rev-sync": "3"}}', True),
        ("package.json", '{"repository": "https://example.org/a.git"}', False),
        ("index.js", "digit legit git", False),
        ("README.md", "git log", False),
    ],
)
def test_files_that_ask_for_git(tmp_path: Path, name: str, text: str, asks: bool) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert asks_for_git(name, tmp_path / name) is asks


def test_the_copy_reaches_back_to_the_last_tag_and_has_no_remote(tmp_path: Path) -> None:
    root = checkout(tmp_path / "a", "v1", "v2")
    into = tmp_path / "copy"
    into.mkdir()
    assert copy_repository(root, into) == into / ".git"
    assert git(into, "describe", "--tags") == git(root, "describe", "--tags")
    assert git(into, "rev-list", "--count", "HEAD").strip() == "2"
    assert git(into, "remote") == ""
    assert "token" not in (into / ".git/config").read_text()


def members(root: Path) -> dict[str, bytes]:
    """Return the packed files by name."""
    out = BytesIO()
    pack(root, out, BOUNDS)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return {m.name: file.read() for m in tar if (file := tar.extractfile(m)) is not None}


def test_equal_commits_are_packed_equally(tmp_path: Path) -> None:
    one, other = checkout(tmp_path / "one", "v1"), checkout(tmp_path / "other", "v1")
    git(other, "gc")
    assert ".git/HEAD" in members(one)
    assert members(one) == members(other)


def test_a_repository_is_packed_only_where_a_file_asks_for_it(tmp_path: Path) -> None:
    assert not [n for n in members(checkout(tmp_path / "a", asks="make")) if n.startswith(".git")]


def test_a_repository_without_a_commit_is_packed(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "package.json").write_text('{"scripts": {"prepare": "git config a.b c"}}')
    assert ".git/HEAD" in members(tmp_path)


REMOTES = {
    "ssh": ("ssh://nowhere/x", {"core.sshCommand": "touch {ran} #"}),
    "path": ("/nowhere", {"remote.origin.uploadpack": "touch {ran} #"}),
    "ext": ("ext::touch {ran}", {"protocol.ext.allow": "always"}),
}


@pytest.mark.parametrize("kind", REMOTES)
def test_an_object_that_a_repository_lacks_is_not_fetched(tmp_path: Path, kind: str) -> None:
    root, ran = checkout(tmp_path / "a", "v1"), tmp_path / "ran"
    url, settings = REMOTES[kind]
    settings = {
        "core.repositoryformatversion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": url,
        **settings,
    }
    for name, value in settings.items():
        git(root, "config", name, value.format(ran=ran))
    commit = git(root, "rev-parse", "v1").strip()
    (root / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    assert tracked(root) is not None
    pack(root, BytesIO(), BOUNDS)
    assert not ran.exists()


def refer(repository: Path, other: Path, kind: str) -> None:
    """Have a repository, or what stands for it, lead to another one."""
    if kind == "file":
        shutil.rmtree(repository)
        repository.write_text(f"gitdir: {other}\n")
    elif kind == "link":
        shutil.rmtree(repository)
        repository.symlink_to(other)
    elif kind == "common directory":
        (repository / "commondir").write_text(f"{other}\n")
    elif kind == "alternates":
        (repository / "objects" / "info" / "alternates").write_text(f"{other}/objects\n")
    else:
        shutil.rmtree(repository / kind)
        (repository / kind).symlink_to(other / kind)


@pytest.mark.parametrize(
    "kind", ["file", "link", "common directory", "alternates", "objects", "refs"]
)
def test_a_repository_that_leads_to_another_one_is_not_copied(tmp_path: Path, kind: str) -> None:
    private, root = checkout(tmp_path / "private"), checkout(tmp_path / "a")
    refer(root / ".git", private / ".git", kind)
    (tmp_path / "copy").mkdir()
    assert copy_repository(root, tmp_path / "copy") is None
    assert list((tmp_path / "copy").iterdir()) == []
