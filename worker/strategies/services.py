"""Finds the services that a project's tests need, by its dependencies and its variables."""

import re
from collections.abc import Iterator
from contextlib import suppress

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import Job
from revalid.jobs.services import ServiceKind
from revalid.worker.services import FACTS, NeededService
from revalid.worker.strategies.node.packages import read_package
from revalid.worker.strategies.project_tree import ProjectTree

_DEPENDENCIES = {
    name: kind
    for kind, names in {
        ServiceKind.POSTGRES: "pg postgres pg-promise slonik @prisma/adapter-pg psycopg psycopg2"
        " psycopg2-binary psycopg-binary asyncpg pg8000",
        ServiceKind.MYSQL: "mysql mysql2 mariadb mysqlclient pymysql aiomysql asyncmy",
        ServiceKind.REDIS: "ioredis redis bullmq bull rq aioredis",
        ServiceKind.MONGODB: "mongodb mongoose pymongo motor mongoengine",
    }.items()
    for name in names.split()
}
_PYTHON_MANIFEST = re.compile(
    r"(?:^|/)(?:requirements[^/]*\.txt|requirements/[^/]+\.txt|pyproject\.toml|Pipfile|setup\.(?:py|cfg))\Z"
)
_PYTHON_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,80}")
_MAX_MANIFESTS = 200
_PRISMA = {
    "postgresql": ServiceKind.POSTGRES,
    "postgres": ServiceKind.POSTGRES,
    "mysql": ServiceKind.MYSQL,
    "mongodb": ServiceKind.MONGODB,
}
_PROVIDER = re.compile(r"^\s{0,20}provider\s{0,20}=\s{0,20}\"(\w{1,20})\"", re.MULTILINE)
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_IMAGE = re.compile(r"^[ \t]{1,40}image:[ \t]{1,20}[\"']?([a-z0-9][\w./:@-]{0,200})", re.MULTILINE)
_IMAGE_NAMES = {
    "postgres": ServiceKind.POSTGRES,
    "postgis": ServiceKind.POSTGRES,
    "pgvector": ServiceKind.POSTGRES,
    "timescaledb": ServiceKind.POSTGRES,
    "mysql": ServiceKind.MYSQL,
    "mariadb": ServiceKind.MYSQL,
    "redis": ServiceKind.REDIS,
    "valkey": ServiceKind.REDIS,
    "mongo": ServiceKind.MONGODB,
}
_ENV_EXAMPLES = (".env.example", ".env.sample", ".env.template", "env.example")
_ENV_URL = re.compile(
    r"^[ \t]{0,8}(?:export )?([A-Z][A-Z0-9_]{0,60})[ \t]?=[ \t]?[\"']?"
    r"(postgres(?:ql)?|mysql|mariadb|rediss?|mongodb)(?:\+\w{1,20})?://",
    re.MULTILINE,
)
_SCHEMES = {
    "postgres": ServiceKind.POSTGRES,
    "postgresql": ServiceKind.POSTGRES,
    "mysql": ServiceKind.MYSQL,
    "mariadb": ServiceKind.MYSQL,
    "redis": ServiceKind.REDIS,
    "rediss": ServiceKind.REDIS,
    "mongodb": ServiceKind.MONGODB,
}
_HEAD_BYTES = 1 << 16


def needed_services(job: Job, tree: ProjectTree) -> tuple[NeededService, ...]:
    """Return the services that the tests of a project need.

    Raises:
        InvalidProject: A file cannot be read.
    """
    images = _compose_images(tree)
    if job.services is not None:
        return tuple(
            NeededService(s.kind, s.image or images.get(s.kind) or FACTS[s.kind].image, (), "given")
            for s in job.services
        )
    reasons: dict[ServiceKind, str] = {}
    for name, path in _dependencies(tree):
        reasons.setdefault(_DEPENDENCIES[name], f"{path} depends on {name}")
    for path in sorted(tree.files):
        if path.endswith("schema.prisma"):
            for provider in _PROVIDER.findall(tree.head(path, _HEAD_BYTES)):
                if provider in _PRISMA:
                    reasons.setdefault(_PRISMA[provider], f"{path} names {provider}")
    names_by_kind: dict[ServiceKind, list[str]] = {}
    for path in sorted(tree.files):
        if path.rpartition("/")[2] in _ENV_EXAMPLES and path.count("/") <= 2:
            for name, scheme in _ENV_URL.findall(tree.head(path, _HEAD_BYTES)):
                names_by_kind.setdefault(_SCHEMES[scheme], []).append(name)
    return tuple(
        NeededService(
            kind,
            images.get(kind, FACTS[kind].image),
            tuple(dict.fromkeys(names_by_kind.get(kind, ()))),
            reason,
        )
        for kind, reason in reasons.items()
    )


def _compose_images(tree: ProjectTree) -> dict[ServiceKind, str]:
    """Return the image of each kind that the project's compose file names."""
    images: dict[ServiceKind, str] = {}
    for name in _COMPOSE:
        for image in _IMAGE.findall(tree.head(name, _HEAD_BYTES)):
            base = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
            if base in _IMAGE_NAMES:
                images.setdefault(_IMAGE_NAMES[base], image)
    return images


def _dependencies(tree: ProjectTree) -> Iterator[tuple[str, str]]:
    """Yield each dependency that tells of a service, with the manifest that names it."""
    manifests = [p for p in sorted(tree.files) if p.rpartition("/")[2] == "package.json"]
    for path in manifests[:_MAX_MANIFESTS]:
        with suppress(InvalidProject):
            package = read_package(tree, path.rpartition("/")[0] or ".")
            for name in package.dependencies if package else ():
                if name in _DEPENDENCIES:
                    yield name, path
    python = [p for p in sorted(tree.files) if _PYTHON_MANIFEST.search(p)]
    for path in python[:_MAX_MANIFESTS]:
        for name in _PYTHON_NAME.findall(tree.head(path, _HEAD_BYTES)):
            if name.lower() in _DEPENDENCIES:
                yield name.lower(), path
