"""Finds the system tools that a project needs and that small images lack."""

import posixpath
import re
from collections.abc import Sequence
from functools import cache, partial

from revalid.worker.strategies.node.packages import readable_packages
from revalid.worker.strategies.project_tree import ProjectTree

_MAX_FILES = 200
_HEAD = 65_536
_CALLS = re.compile(
    r"(?:^|[\s;&|(\"'])(git|bash|make|g\+\+|gcc|python3?|node-gyp)(?=[\s\"']|\Z)", re.MULTILINE
)
_RUN = re.compile(
    r"(?:pre|post)?(?:build|check|ci|codegen|compile|db|gen|install|lint|migrat|prepare|start|test"
    r"|tsc|type|verify)"
)
"""Names of the scripts that checks run, or that those call."""
_SCRIPT_FILE = re.compile(r"[\w@.-]{1,100}\.(?:sh|bash)\b")
_BASH = re.compile(r"#![^\n]{0,60}\bbash\b")
_GIT_DEPENDENCY = re.compile(r"git(?:\+[a-z]{2,5})?:|github:|gitlab:|bitbucket:|git@")
_GIT_REQUIREMENT = re.compile(r"\bgit\+(?:https?|ssh|file)://")
_COMPILED = re.compile(r"\bpsycopg2(?!-binary)\b|\bmysqlclient\b|\bExtension\(|\bpycairo\b")


def needed_system_tool(tree: ProjectTree, language: str, commands: Sequence[str] = ()) -> str:
    """Return what a project needs beyond its language, and why; empty if nothing shows it.

    Args:
        language: ``node`` or ``python``.
        commands: The commands that the job gives.
    """
    for command in commands:
        match = _CALLS.search(command)
        if match and not match[1].startswith(language):
            return f"{match[1]}, for a given command"
        if any(_is_bash(tree, file) for file in _SCRIPT_FILE.findall(command)[:_MAX_FILES]):
            return "bash, for a given command"
    if tree.has_repository:  # the producer sends a repository only where a file reads it
        return "git, for the project reads its repository"
    return _of_node(tree) if language == "node" else _of_python(tree)


def _of_node(tree: ProjectTree) -> str:
    is_bash = cache(partial(_is_bash, tree))
    for package in readable_packages(tree):
        if any(_GIT_DEPENDENCY.match(version) for version in package.dependencies.values()):
            return f"git, for a dependency in {package.manifest}"
        for name, script in package.scripts.items():
            if not _RUN.match(name):
                continue
            if match := _CALLS.search(script):
                return f"{match[1]}, for the script {name} in {package.manifest}"
            if any(is_bash(file) for file in _SCRIPT_FILE.findall(script)[:_MAX_FILES]):
                return f"bash, for the script {name} in {package.manifest}"
    if any(path.rpartition("/")[2] == "binding.gyp" for path in tree.files):
        return "a compiler, for binding.gyp"
    return ""


def _of_python(tree: ProjectTree) -> str:
    for path in sorted(tree.files):
        name = path.rpartition("/")[2]
        if name in ("setup.py", "pyproject.toml", "Pipfile") or name.startswith("requirements"):
            text = tree.head(path, _HEAD)
            if _GIT_REQUIREMENT.search(text):
                return f"git, for a dependency in {path}"
            if match := _COMPILED.search(text):
                return f"a compiler, for {match[0].rstrip('(')} in {path}"
    return ""


def _is_bash(tree: ProjectTree, name: str) -> bool:
    """Return whether a file of this name, in any directory, is a script of Bash."""
    directories = tree.directories_with(name)[:_MAX_FILES]
    return any(
        _BASH.match(tree.head(posixpath.normpath(f"{directory}/{name}"), 100))
        for directory in directories
    )
