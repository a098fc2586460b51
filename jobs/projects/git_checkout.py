"""Reads a Git checkout: the files that it tracks, and a small copy of its repository.

Git runs on a repository that may be hostile: without hooks, without its file system monitor,
without the variables of a Git command that runs above, and without any transport. Otherwise Git
would fetch an object that the repository lacks, by a program that its configuration names.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from revalid.jobs.projects.file_start import read_start

GIT_TIMEOUT_S = 60.0
MAX_SUBMODULES = 64
"""Submodules whose tracked files are read."""
_MAX_DEPTH = 1_000
_READ_BYTES = 1 << 16
_SAFE = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.logAllRefUpdates=false"),
    *("-c", "protocol.file.allow=always"),
    *("-c", "advice.detachedHead=false"),
)
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
_UPLOAD_PACK = "GIT_ALLOW_PROTOCOL=none git-upload-pack"
_ELSEWHERE = frozenset({"commondir", "objects/info/alternates", "objects/info/http-alternates"})
"""Files of a repository that have Git read another one."""
_SUBMODULE = b"160000"

_ASKS_GIT = re.compile(
    r"setuptools[_-]scm|hatch-vcs|vcs-versioning|versioneer|versioningit|dunamai|\bpbr\b"
    r"|dynamic-versioning|\bhusky\b|git-hooks|\blefthook\b|pre-?commit"
    r"|(?i:\bgit-?(?:python|cliff|commit-id|describe|hash|info|last-commit|rev|semver|version))"
    r"|\b(?:simple-git|isomorphic-git|nodegit|dulwich|pygit2|next-build-id|git2|gix|vergen)\b"
    r"|^[ \t]{0,20}(?:import|from) git\b|(?<!\w)\.git(?:[/\"']|\Z)"
    r"|\bgit(?: -{1,2}[\w.=/-]{1,80}| -[Cc] \S{1,80}){0,4}"
    r" (?:rev-|describe|log|config|show|status|diff|ls-|tag|branch|blame|shortlog"
    r"|symbolic-ref|name-rev|for-each-ref|cat-file|remote|grep"
    r"|hash-object|archive|worktree|notes|add|commit|stash|checkout|submodule)"
    r"|[\"']git[\"'], ?[\w\[.(*\"']",
    re.MULTILINE,
)
_NEVER_ASKS = re.compile(
    r"\.(?:md|rst|lock|svg|png|jpe?g|gif|webp|ico|woff2?|ttf|eot|pdf|zip|gz|map|css|scss|html?|csv"
    r"|snap|mp[34]|wasm)\Z|(?:^|/)(?:package-lock\.json|pnpm-lock\.yaml|\.gitignore|LICENSE)\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a checkout tracks.

    Attributes:
        files: Paths relative to the directory.
        submodules: Paths of submodules.
    """

    files: frozenset[str]
    submodules: frozenset[str]


def tracked(root: Path) -> Tracked:
    """Return what Git tracks below a directory, and in the submodules there."""
    files: set[str] = set()
    submodules: set[str] = set()
    pending = [""]
    while pending:
        below = pending.pop()
        listed = _git(root / below, "ls-files", "-z", "--stage")
        for entry in (listed or b"").split(b"\0"):
            head, tab, name = entry.partition(b"\t")
            path = below + os.fsdecode(name)
            if not tab:
                continue
            if not head.startswith(_SUBMODULE):
                files.add(path)
            elif path not in submodules:
                submodules.add(path)
                if len(submodules) <= MAX_SUBMODULES and (root / path / ".git").exists():
                    pending.append(f"{path}/")
    return Tracked(frozenset(files), frozenset(submodules))


def asks_for_git(name: str, path: Path) -> bool:
    """Return whether a file seems to read the repository, such as for a version or for hooks."""
    if _NEVER_ASKS.search(name):
        return False
    start = read_start(path, _READ_BYTES) or b""
    return _ASKS_GIT.search(start.decode(errors="replace")) is not None


def copy_repository(root: Path, into: Path) -> Path | None:
    """Copy the repository of a checkout: its commit, back to the last tag, without any remote.

    Equal commits and tags give equal files. Return the copy's ``.git``; None where it failed, or
    where parts of the repository are elsewhere: they may be of another project.

    Args:
        into: An empty directory.
    """
    if not _is_whole(root / ".git"):
        return None
    described = _git(root, "describe", "--tags", "--long", "--match", "*") or b""
    distance = re.search(r"-(\d{1,9})-g[0-9a-f]{1,64}\s?\Z", described.decode(errors="replace"))
    depth = min(_MAX_DEPTH, int(distance[1]) + 1) if distance else 1
    url = root.resolve().as_uri()
    options = ("--quiet", "--no-checkout", "--template=", "--no-recurse-submodules")
    clone = ("clone", *options, f"--depth={depth}", f"--upload-pack={_UPLOAD_PACK}")
    if _git(into, *clone, "--", url, ".", GIT_ALLOW_PROTOCOL="file") is None:
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


def _is_whole(repository: Path) -> bool:
    """Return whether a repository is a directory without links and without parts elsewhere."""
    if repository.is_symlink() or not repository.is_dir():
        return False
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(repository / below) as entries:
                for entry in entries:
                    if entry.is_symlink() or below + entry.name in _ELSEWHERE:
                        return False
                    if entry.is_dir():
                        pending.append(f"{below}{entry.name}/")
        except OSError:
            return False
    return True


def _git(directory: Path, *arguments: str, **variables: str) -> bytes | None:
    """Return what a Git command prints; None where it fails or Git is not installed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    silent = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    safe = (*_SAFE, "-c", "safe.directory=*")
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *safe, *arguments],
            env=environ | silent | _NO_TRANSPORT | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
