"""Finds the services that a project's tests need, by its dependencies and its variables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from revalid.jobs.images import repository
from revalid.jobs.job import Job
from revalid.jobs.services import Service, ServiceKind
from revalid.worker.services import FACTS, NeededService
from revalid.worker.strategies.node.packages import readable_packages
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
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_COMPOSED_SERVICE = re.compile(r"([ \t]{1,20})[\"']?([A-Za-z0-9][\w.-]{0,60})[\"']?:[ \t]*(?:#|$)")
_COMPOSED_IMAGE = re.compile(r"[ \t]{1,40}image:[ \t]{1,20}[\"']?([a-z0-9][\w./:@-]{0,200})")
_COMPOSED_BUILD = re.compile(r"[ \t]{1,40}build:")
_MAX_UNKNOWN = 20
_HOST_NAME = re.compile(r"[a-z][a-z0-9_-]{0,60}\Z")
_IMAGES = {
    "postgres": ServiceKind.POSTGRES,
    "postgis/postgis": ServiceKind.POSTGRES,
    "pgvector/pgvector": ServiceKind.POSTGRES,
    "timescale/timescaledb": ServiceKind.POSTGRES,
    "mysql": ServiceKind.MYSQL,
    "mariadb": ServiceKind.MYSQL,
    "redis": ServiceKind.REDIS,
    "valkey/valkey": ServiceKind.REDIS,
    "mongo": ServiceKind.MONGODB,
}
"""The images that a project may choose. Another one would be a program of its own, as root."""
_OTHER_IMAGES = {
    **{name.rpartition("/")[2]: kind for name, kind in _IMAGES.items()},
    "postgresql": ServiceKind.POSTGRES,
    "mongodb": ServiceKind.MONGODB,
    "mongodb-community-server": ServiceKind.MONGODB,
}
"""The last part of the name of other images, in whose place the kind's own runs."""
ENV_EXAMPLES = (".env.example", ".env.sample", ".env.template", "env.example")
_ENV_URL = re.compile(
    r"^[ \t]{0,20}(?:export |- )?[\"']?([A-Z][A-Z0-9_]{0,60})[ \t]?[=:][ \t]{0,8}[\"']?"
    r"(?:\$\{\w{1,60}:?-)?"
    r"((postgres(?:ql)?|mysql|mariadb|rediss?|mongodb)(?:\+\w{1,20})?)://",
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


@dataclass
class _Evidence:
    """What a project tells about the services of one kind."""

    image: str = ""
    reason: str = ""
    names: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)


def needed_services(job: Job, tree: ProjectTree) -> tuple[NeededService, ...]:
    """Return the services that the tests of a project need.

    Raises:
        InvalidProject: A file cannot be read.
    """
    by_kind: dict[ServiceKind, _Evidence] = {}
    for name, path in _dependencies(tree):
        _note(by_kind, _DEPENDENCIES[name], f"{path} depends on {name}")
    for path in sorted(tree.files):
        if path.endswith("schema.prisma"):
            for provider in _PROVIDER.findall(tree.head(path, _HEAD_BYTES)):
                if provider in _PRISMA:
                    _note(by_kind, _PRISMA[provider], f"{path} names {provider}")
    for path in COMPOSE_FILES:
        for host, image in _composed(tree.head(path, _HEAD_BYTES)):
            _add_composed(by_kind, path, host, image)
    for path in sorted(tree.files):
        example = path.rpartition("/")[2] in ENV_EXAMPLES and path.count("/") <= 2
        if example or path in COMPOSE_FILES:
            for name, scheme, base in _ENV_URL.findall(tree.head(path, _HEAD_BYTES)):
                kind = _SCHEMES[base]
                _note(by_kind, kind, f"{path} names {name}")
                by_kind[kind].names.setdefault(name, scheme.replace("rediss", "redis"))
    if job.services is None:
        return tuple(
            _needed(kind, evidence, evidence.image, evidence.reason)
            for kind, evidence in by_kind.items()
        )
    return tuple(_given(given, by_kind.get(given.kind, _Evidence())) for given in job.services)


def _given(given: Service, evidence: _Evidence) -> NeededService:
    if given.kind is ServiceKind.OTHER:
        image = given.image or ""
        return NeededService(given.kind, image, reason="given", declared=True, other=given)
    needed = _needed(given.kind, evidence, given.image or evidence.image, "given")
    declared = given.image is not None and not is_well_known(given.kind, given.image)
    return replace(needed, declared=declared)


def unknown_services(job: Job, tree: ProjectTree) -> tuple[str, ...]:
    """Return the services of the compose file that no check has beside it, in words."""
    declared = {service.name for service in job.services or ()}
    return tuple(
        f"{path} runs {image} as {host}, of no known kind: declare it in the job's services"
        for path in COMPOSE_FILES
        for host, image in list(_composed(tree.head(path, _HEAD_BYTES)))[:_MAX_UNKNOWN]
        if _kind_of(image) is None and host not in declared
    )


def _needed(kind: ServiceKind, evidence: _Evidence, image: str, reason: str) -> NeededService:
    return NeededService(
        kind=kind,
        image=image or FACTS[kind].image,
        names=tuple(evidence.names.items()),
        reason=reason,
        hosts=tuple(evidence.hosts),
    )


def _note(by_kind: dict[ServiceKind, _Evidence], kind: ServiceKind, reason: str) -> None:
    evidence = by_kind.setdefault(kind, _Evidence())
    evidence.reason = evidence.reason or reason


def is_well_known(kind: ServiceKind, image: str) -> bool:
    """Return whether a project may choose this image for a service."""
    return _IMAGES.get(_repository(image)) is kind


def _repository(image: str) -> str:
    return repository(image).removeprefix("docker.io/").removeprefix("library/")


def _kind_of(image: str) -> ServiceKind | None:
    name = _repository(image)
    return _IMAGES.get(name) or _OTHER_IMAGES.get(name.rpartition("/")[2])


def _add_composed(by_kind: dict[ServiceKind, _Evidence], path: str, host: str, image: str) -> None:
    """Add a service of a compose file; the image runs only if it is a well-known one."""
    kind, name = _kind_of(image), _repository(image)
    if kind is None:
        return
    _note(by_kind, kind, f"{path} runs {image}")
    evidence = by_kind[kind]
    if not evidence.image and name in _IMAGES:
        evidence.image = image
    elif not evidence.image:
        evidence.image = FACTS[kind].image
        evidence.reason += f"; {evidence.image} stands in for {image}"
    if _HOST_NAME.match(host) and host != "localhost":
        evidence.hosts[host] = None


def _composed(text: str) -> Iterator[tuple[str, str]]:
    """Yield each service of a compose file that has an image and is not built, and the image."""
    _, _, text = text.partition("services:")
    indentation, host = "", ""
    images: dict[str, str] = {}
    built = set()
    for line in text.splitlines():
        match = _COMPOSED_SERVICE.match(line)
        if match and (not indentation or match[1] == indentation):
            indentation, host = match[1], match[2]
        elif image := _COMPOSED_IMAGE.match(line):
            images.setdefault(host, image[1])
        elif _COMPOSED_BUILD.match(line):
            built.add(host)
    yield from ((host, image) for host, image in images.items() if host not in built)


def _dependencies(tree: ProjectTree) -> Iterator[tuple[str, str]]:
    """Yield each dependency that tells of a service, with the manifest that names it."""
    for package in readable_packages(tree):
        for name in package.dependencies:
            if name in _DEPENDENCIES:
                yield name, package.manifest
    python = [p for p in sorted(tree.files) if _PYTHON_MANIFEST.search(p)]
    for path in python[:_MAX_MANIFESTS]:
        for name in _PYTHON_NAME.findall(tree.head(path, _HEAD_BYTES)):
            if name.lower() in _DEPENDENCIES:
                yield name.lower(), path
