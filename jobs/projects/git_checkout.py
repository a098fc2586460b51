"""Reads a Git checkout: the files that it tracks, and a small copy of its repository.

Git runs on a repository that may be hostile: without hooks, without its file system monitor, and
without the variables of a Git command that runs above.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

GIT_TIMEOUT_S = 60.0
_MAX_DEPTH = 1_000
_READ_BYTES = 1 << 16
_SAFE = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.logAllRefUpdates=false"),
    *("-c", "protocol.file.allow=always"),
    *("-c", "advice.detachedHead=false"),
)
_SUBMODULE = b"160000"

_ASKS_GIT = re.compile(
    r"setuptools[_-]scm|hatch-vcs|versioneer|dunamai|poetry-dynamic-versioning|\bpbr\b"
    r"|\bhusky\b|simple-git-hooks|\blefthook\b"
    r"|\bgit (?:rev-parse|describe|log|config|show|status|diff|ls-files|tag|branch)\b"
    r"|[\"']git[\"'], ?\["
)
_MAY_ASK = re.compile(
    r"(?:\.(?:[cm]?[jt]sx?|py|sh|toml|cfg|json|mk|rb|go|rs|gradle|ya?ml)|(?:^|/)(?:Makefile|justfile))\Z"
)
_MAX_ASKING_FILES = 5_000


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a checkout tracks.

    Attributes:
        files: Paths relative to the directory.
        submodules: Paths of submodules.
    """

    files: frozenset[str]
    submodules: frozenset[str]


def tracked(root: Path) -> Tracked | None:
    """Return what Git tracks below a directory; None where it tracks nothing there."""
    listed = _git(root, "ls-files", "-z", "--stage")
    files: set[str] = set()
    submodules: set[str] = set()
    for entry in (listed or b"").split(b"\0"):
        head, tab, path = entry.partition(b"\t")
        if tab:
            (submodules if head.startswith(_SUBMODULE) else files).add(os.fsdecode(path))
    return Tracked(frozenset(files), frozenset(submodules)) if files or submodules else None


def asks_for_git(name: str, path: Path) -> bool:
    """Return whether a file seems to read the repository, such as for a version or for hooks."""
    if not _MAY_ASK.search(name):
        return False
    try:
        with path.open("rb") as file:
            text = file.read(_READ_BYTES).decode(errors="replace")
            return _ASKS_GIT.search(text) is not None
    except OSError:
        return False


def copy_repository(root: Path, into: Path) -> Path | None:
    """Copy the repository of a checkout: its commit, back to the last tag, without any remote.

    Equal commits and tags give equal files. Return the copy's ``.git``; None where it failed.

    Args:
        into: An empty directory.
    """
    described = _git(root, "describe", "--tags", "--long", "--match", "*") or b""
    distance = re.search(r"-(\d{1,9})-g[0-9a-f]{1,64}\s?\Z", described.decode(errors="replace"))
    depth = min(_MAX_DEPTH, int(distance[1]) + 1) if distance else 1
    url = root.resolve().as_uri()
    options = ("--quiet", "--no-checkout", "--template=", "--no-recurse-submodules")
    if _git(into, "clone", *options, f"--depth={depth}", "--", url, ".") is None:
        return None
    _git(into, "remote", "remove", "origin")
    if _git(into, "rev-parse", "--verify", "--quiet", "HEAD") is not None:
        _git(into, "read-tree", "HEAD")
        packed = ("-c", "pack.threads=1", "repack", "-a", "-d", "-f", "-q", "--window=10")
        if _git(into, *packed) is None:
            return None
    repository = into / ".git"
    shutil.rmtree(repository / "refs" / "remotes", ignore_errors=True)
    for leftover in ("FETCH_HEAD", "ORIG_HEAD", "gc.log"):
        (repository / leftover).unlink(missing_ok=True)
    return repository


def _git(directory: Path, *arguments: str) -> bytes | None:
    """Return what a Git command prints; None where it fails or Git is not installed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    silent = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    safe = (*_SAFE, "-c", "safe.directory=*")
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *safe, *arguments],
            env=environ | silent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
