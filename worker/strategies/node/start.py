"""Finds the command that starts a Node project's server."""

import re

from revalid.worker.strategies.node.managers import Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.project import NodeProject
from revalid.worker.strategies.plan import PlannedStep
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.start import declared_command, docker_command, start_check

_SCRIPTS = ("start", "start:prod", "serve", "preview")
_NO_SERVER = re.compile(
    r"\b(?:expo|react-native|electron|cordova|capacitor|storybook|echo|tsc|webpack --watch)\b"
)
_PLAIN = re.compile(
    r"(?:[A-Z_]{1,40}=\S{1,80} )*(?:npx |bunx )?(?:tsx|bun|bun run|node|ts-node|deno run)"
    r"(?: --?[\w=./-]{1,60})* [\w./-]{1,200}\.[cm]?[jt]sx?\Z"
)
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


def node_start(tree: ProjectTree, project: NodeProject, builds: list[str]) -> list[PlannedStep]:
    """Return the step that starts the project's server; none if it has no server.

    Args:
        builds: The names of the build steps.
    """
    depends_on = [*project.installs.every, *builds]
    migrations = [m for package in project.packages for m in _migrations(tree, project, package)][
        :2
    ]
    command = declared_command(tree, python=False)
    if command is None:
        ranked = sorted(project.packages, key=_rank)
        found = (_command(tree, project, package) for package in ranked)
        command = next((c for c in found if c), None) or docker_command(tree, python=False)
    if command is None:
        return []
    return [start_check(tree, command, depends_on, migrations=migrations)]


def _rank(package: Package) -> tuple[bool, bool, str]:
    """Sort a root with a start script first, then servers, then what else can be started."""
    starts = package.directory == "." and "start" in package.scripts
    return not starts, not _is_server(package), package.directory


def _is_server(package: Package) -> bool:
    named = _SERVER_DIRECTORY.search(package.directory) is not None
    return named or not _SERVERS.isdisjoint(package.dependencies)


def _command(tree: ProjectTree, project: NodeProject, package: Package) -> str | None:
    manager = project.manager(package)
    for name in _SCRIPTS:
        text = package.scripts.get(name)
        if text and not _NO_SERVER.search(text) and not package.is_placeholder(name):
            return package.within(f"exec {manager.command} run {name}")
    if not _is_server(package):
        return None
    dev = package.scripts.get("dev", "")
    if _PLAIN.match(dev):
        return package.within(f"exec {manager.command} run dev")
    entry = next((e for e in _ENTRIES if package.path(e) in tree.files), None)
    if entry is None:
        return None
    program = _program(manager, package, entry)
    return package.within(f"exec {program} {entry}") if program else None


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
