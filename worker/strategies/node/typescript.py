"""Plans the type check of a package with the compiler that it depends on."""

import json
import posixpath
import re
from collections.abc import Iterable
from typing import Any

from revalid.worker.strategies.node.managers import Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.project_tree import ProjectTree

# Possessive, and open-ended at the end of the text: linear on hostile input.
_STRING = r'"(?:\\.|[^"\\])*+(?:"|\\?\Z)'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*(?:.*?\*/|.*\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*+[}}\]])", re.DOTALL)
_BUILDS = re.compile(r"\btsc (?:-b|--build)\b")


def type_check(
    tree: ProjectTree, package: Package, root: Package, manager: Manager
) -> tuple[str, str]:
    """Return the command that checks a package's types, and why it cannot run; empty if it can.

    Args:
        root: The root of the install that serves the package.

    Raises:
        InvalidProject: A ``tsconfig.json`` cannot be read.
    """
    own = "typescript" in package.dependencies
    run = manager.local if own else manager.local_from_root
    path = package.path("tsconfig.json")
    config = read_tsconfig(tree, path)
    arguments = _arguments(package, config)
    if command := _framework_check(tree, package, manager, arguments):
        return package.within(command), ""
    command = package.within(f"{_prepared(package, manager)}{run} tsc {arguments}")
    if path not in tree.files:
        return command, "no tsconfig.json in"
    if not own and "typescript" not in root.dependencies:
        return command, "typescript is not a dependency of"
    if not _has_sources(tree, package, config):
        return command, "no TypeScript sources in"
    return command, ""


def _framework_check(
    tree: ProjectTree, package: Package, manager: Manager, arguments: str
) -> str | None:
    """Return the command of the checker that reads a framework's own files, if it is installed."""
    installed, run = package.dependencies, manager.local
    if "svelte-check" in installed and _has(tree, package, ".svelte"):
        sync = f"{run} svelte-kit sync && " if "@sveltejs/kit" in installed else ""
        config = (
            " --tsconfig ./tsconfig.json" if package.path("tsconfig.json") in tree.files else ""
        )
        return f"{sync}{run} svelte-check{config}"
    if "@astrojs/check" in installed and _has(tree, package, ".astro"):
        return f"{run} astro check"
    if "nuxt" in installed and "vue-tsc" in installed:
        return f"{run} nuxt typecheck"
    has_config = package.path("tsconfig.json") in tree.files
    if "vue-tsc" in installed and has_config and _has(tree, package, ".vue"):
        return f"{run} vue-tsc {arguments}"
    return None


def _prepared(package: Package, manager: Manager) -> str:
    """Return the command that generates the types which the sources import."""
    if "@react-router/dev" in package.dependencies:
        return f"{manager.local} react-router typegen && "
    return ""


def _has(tree: ProjectTree, package: Package, suffix: str) -> bool:
    prefix = package.path("")
    return any(path.startswith(prefix) and path.endswith(suffix) for path in tree.files)


def _has_sources(tree: ProjectTree, package: Package, config: dict[str, Any]) -> bool:
    """Return whether the compiler has something to check: false for sources in JavaScript alone."""
    options = config.get("compilerOptions")
    javascript = isinstance(options, dict) and (options.get("allowJs") or options.get("checkJs"))
    if javascript or config.keys() & {"extends", "references"}:
        return True
    typescript = any(_has(tree, package, suffix) for suffix in (".ts", ".tsx", ".mts", ".cts"))
    return typescript or not any(_has(tree, package, suffix) for suffix in (".js", ".jsx", ".mjs"))


def _arguments(package: Package, config: dict[str, Any]) -> str:
    """Return ``-b`` if plain tsc would check nothing or need the output of another project.

    ``-b --noEmit`` refuses references to composite projects (TS6310) in every version, so ``-b``
    emits; ``--force`` ignores build information that came with the project.
    """
    references = config.get("references")
    listed = references if isinstance(references, list) else []
    paths = [reference.get("path") for reference in listed if isinstance(reference, dict)]
    outside = any(isinstance(p, str) and posixpath.normpath(p).startswith("..") for p in paths)
    solution = bool(paths) and config.get("files") == [] and not config.get("include")
    scripted = bool(paths) and any(_BUILDS.search(s) for s in package.scripts.values())
    return "-b --force" if outside or solution or scripted else "--noEmit"


def bases(tree: ProjectTree, packages: Iterable[Package]) -> frozenset[str]:
    """Return the tsconfigs that name no files and that another tsconfig extends.

    Raises:
        InvalidProject: A ``tsconfig.json`` cannot be read.
    """
    configs = {(path := p.path("tsconfig.json")): (p, read_tsconfig(tree, path)) for p in packages}
    extended = {path for package, config in configs.values() for path in _extended(package, config)}
    return frozenset(
        path
        for path, (_, config) in configs.items()
        if path in extended and not config.keys() & {"files", "include", "references"}
    )


def _extended(package: Package, config: dict[str, Any]) -> set[str]:
    extends = config.get("extends")
    names = extends if isinstance(extends, list) else [extends]
    targets = (n if n.endswith(".json") else f"{n}.json" for n in names if isinstance(n, str))
    return {posixpath.normpath(package.path(target)) for target in targets}


def read_tsconfig(tree: ProjectTree, path: str) -> dict[str, Any]:
    """Read a tsconfig without its comments and trailing commas; empty if it does not parse.

    The compiler reports errors in it better than this function could.

    Raises:
        InvalidProject: The file cannot be read.
    """
    text = _COMMENT.sub(lambda m: m[1] or " ", tree.text(path) or "")
    text = _TRAILING_COMMA.sub(lambda m: m[1] or "", text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
