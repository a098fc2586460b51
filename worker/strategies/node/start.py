"""Finds the command that starts a Node project's server."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from revalid.worker.strategies.node.builds import Builds
from revalid.worker.strategies.node.managers import Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.project import NodeProject
from revalid.worker.strategies.plan import PlannedStep
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.start import (
    declared_command,
    docker_command,
    not_started,
    start_check,
)

_SCRIPTS = ("start", "start:prod", "serve", "preview")
_NO_SERVER = re.compile(
    r"\b(?:expo|react-native|electron|cordova|capacitor|storybook|webpack --watch)\b"
    r"|(?:\A|[;&|]\s{0,4})(?:echo|tsc)\b[^;&|]{0,500}\Z"
)
_PLAIN = re.compile(
    r"(?:[A-Z_]{1,40}=\S{1,80} )*(?:npx |bunx )?(?:tsx|bun|bun run|node|ts-node|deno run)"
    r"(?: --?[\w=./-]{1,60})* (?:\./)?([\w./-]{1,200}\.[cm]?[jt]sx?)\Z"
)
_STARTS_ALL = re.compile(
    r"\b(?:concurrently|npm-run-all|run-p|run-s|turbo|nx|lerna|pm2)\b"
    r"|(?:\A|\s)(?:-r|-ws|--recursive|--workspaces|--parallel|--filter|foreach)(?=\s|\Z|=)"
)
_CALLED = re.compile(r"\brun ([\w:.-]{1,80})")
_PAGES = re.compile(
    r"\b(?:vite|serve|http-server|live-server|react-scripts|ng serve|parcel|vue-cli-service)\b"
)
_MAX_STARTS = 4
_SERVERS = frozenset(
    (
        *("express", "fastify", "hono", "koa", "polka", "h3", "nitropack", "restify", "socket.io"),
        *("@hapi/hapi", "@nestjs/core", "@trpc/server", "@hono/node-server", "elysia"),
        *("next", "nuxt", "astro", "@remix-run/serve", "@sveltejs/kit", "@apollo/server"),
    )
)
_ENTRIES = tuple(
    f"{folder}{name}.{ending}"
    for ending in ("ts", "js", "mjs")
    for folder in ("src/", "")
    for name in ("index", "server", "main", "app")
)
_SERVER_DIRECTORY = re.compile(r"(?:^|/)(?:server|back-?end|api)\Z")


@dataclass(frozen=True, slots=True)
class _Start:
    """How a package starts.

    Attributes:
        text: The text of its script; empty for a command of ours.
        built: Whether it runs what a build of the package made.
    """

    command: str
    text: str = ""
    built: bool = False


def node_start(tree: ProjectTree, project: NodeProject, builds: Builds) -> list[PlannedStep]:
    """Return the steps that start the project's servers, and those that nobody can start."""
    every = list(dict.fromkeys(builds.steps.values()))
    if declared := declared_command(tree, python=False):
        migrations = _all_migrations(tree, project)
        return [
            start_check(tree, declared, project.installs.every, after=every, migrations=migrations)
        ]
    found = {p.directory: _start(tree, project, p) for p in project.packages}
    chosen = _chosen(project, found)
    server, client = _pair(tree, project.packages, found)
    steps = []
    for package in chosen:
        name = "start" if len(chosen) == 1 else package.step("start")
        start = found[package.directory]
        if start is None:
            name = package.step("start")
            steps.append(
                not_started(name, f"no start script and no known entry in {package.title}")
            )
        elif len(steps) >= _MAX_STARTS:
            steps.append(not_started(name, f"only {_MAX_STARTS} parts are started"))
        else:
            own = builds.steps.get(package.directory) if start.built else None
            pages = not _is_server(package) and _PAGES.search(start.text) is not None
            needed = (
                *project.installs.every,
                *builds.needed_by([package]),
                *([own] if own else ()),
            )
            migrations = [] if pages else _migrations_for(tree, project, package)
            steps.append(
                start_check(
                    *(tree, start.command, needed),
                    name=name,
                    after=every,
                    migrations=migrations,
                    pages=pages,
                    client=_preview(project, client) if client and package is server else None,
                    render=package is not client,  # a client is rendered beside its server
                )
            )
    if not steps and (command := docker_command(tree, python=False)):
        migrations = _all_migrations(tree, project)
        return [
            start_check(tree, command, project.installs.every, after=every, migrations=migrations)
        ]
    return steps


def _pair(
    tree: ProjectTree, packages: Sequence[Package], found: dict[str, _Start | None]
) -> tuple[Package | None, Package | None]:
    """Return a server and the client that has its pages; None for both without either."""
    servers = (p for p in packages if p.directory != "." and _is_server(p) and found[p.directory])
    clients = (
        package
        for package in packages
        if "vite" in package.dependencies
        and not _is_server(package)
        and "build" in package.scripts
        and package.path("index.html") in tree.files
    )
    server, client = next(servers, None), next(clients, None)
    return (server, client) if server and client else (None, None)


def _preview(project: NodeProject, client: Package) -> str:
    local = project.manager(client).local
    options = "--host 127.0.0.1 --strictPort --port $PAGE_PORT"
    return client.within(f"exec {local} vite preview {options}")


def _chosen(project: NodeProject, found: dict[str, _Start | None]) -> list[Package]:
    """Return the packages to start: the root where its script starts others, else each."""
    ranked = sorted(project.packages, key=lambda p: (not _is_server(p), p.directory))
    root = project.root
    start = found["."] if root else None
    if root is None or start is None or "start" not in root.scripts:
        return [p for p in ranked if found[p.directory] or _SERVER_DIRECTORY.search(p.directory)]
    called = _CALLED.findall(start.text)
    text = "\n".join([start.text, *(root.scripts.get(name, "") for name in called)])
    others = (
        package
        for package in ranked
        if package is not root
        and _SERVER_DIRECTORY.search(package.directory)
        and package.directory not in text
        and not (package.name and package.name in text)
    )
    return [root, *([] if _STARTS_ALL.search(text) else others)]


def _is_server(package: Package) -> bool:
    named = _SERVER_DIRECTORY.search(package.directory) is not None
    return named or not _SERVERS.isdisjoint(package.dependencies)


def _start(tree: ProjectTree, project: NodeProject, package: Package) -> _Start | None:
    manager = project.manager(package)
    for name in _SCRIPTS:
        text = package.scripts.get(name)
        if text and not _NO_SERVER.search(text) and not package.is_placeholder(name):
            command = package.within(f"exec {manager.command} run {name}")
            plain = _PLAIN.match(text)
            source = plain is not None and package.path(plain[1]) in tree.files
            return _Start(command, text, built=not source)
    if not _is_server(package):
        return None
    dev = package.scripts.get("dev", "")
    if _PLAIN.match(dev):
        return _Start(package.within(f"exec {manager.command} run dev"), dev)
    entry = next((e for e in _ENTRIES if package.path(e) in tree.files), None)
    program = _program(manager, package, entry) if entry else None
    return _Start(package.within(f"exec {program} {entry}")) if program else None


def _all_migrations(tree: ProjectTree, project: NodeProject) -> list[str]:
    """Return the migrations of the root, whose script may run those of others; else of each."""
    own = _migrations(tree, project, project.root) if project.root else []
    return own or [m for p in project.packages for m in _migrations(tree, project, p)][:2]


def _migrations_for(tree: ProjectTree, project: NodeProject, package: Package) -> list[str]:
    if package is project.root:
        return _all_migrations(tree, project)
    own = _migrations(tree, project, package)
    return own or (_migrations(tree, project, project.root) if project.root else [])


def _program(manager: Manager, package: Package, entry: str) -> str | None:
    scripts = " ".join(package.scripts.values())
    if manager.command == "bun" or "@types/bun" in package.dependencies or "bun " in scripts:
        return "bun"
    if "tsx" in package.dependencies:
        return f"{manager.local} tsx"
    return None if entry.endswith("ts") else "node"


def _migrations(tree: ProjectTree, project: NodeProject, package: Package) -> list[str]:
    """Return the commands that bring the package's database to the schema it expects."""
    manager = project.manager(package)
    scripts, dependencies = package.scripts, package.dependencies
    for name in ("db:push", "db:migrate", "migrate:deploy", "prisma:migrate", "migrate"):
        if name in scripts:
            forced = " -- --force" if scripts[name].strip() == "drizzle-kit push" else ""
            return [package.within(f"{manager.command} run {name}{forced}")]
    if {"prisma", "@prisma/client"} & dependencies.keys():
        folders = [p for p in tree.files if p.startswith(package.path("prisma/"))]
        if package.path("prisma/schema.prisma") in folders:
            migrated = any(p.startswith(package.path("prisma/migrations/")) for p in folders)
            deploy = "migrate deploy" if migrated else "db push --skip-generate --accept-data-loss"
            return [package.within(f"{manager.local} prisma {deploy}")]
    configured = any(package.path(f"drizzle.config.{e}") in tree.files for e in ("ts", "js", "mjs"))
    if "drizzle-kit" in dependencies and configured:
        return [package.within(f"{manager.local} drizzle-kit push --force")]
    return []
