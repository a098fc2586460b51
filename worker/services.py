"""What each kind of service needs to start, and the variables by which a command finds it."""

import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from revalid.jobs.services import Service, ServiceKind

USER, DATABASE = "app", "app"


def new_password() -> str:
    """Return a random password that no URL and no shell has to quote."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class ServiceKindFacts:
    """The facts of one kind.

    Attributes:
        image: The default image.
        port: The port that the image's server listens on.
        environment: The variables of the server's container; ``{password}`` is filled in.
        arguments: The arguments of the server's container.
        url: The address that a client takes.
        url_names: Variables that usually hold the address, the most specific first.
        parts: Variables that hold a part of it.
    """

    image: str
    port: int
    environment: Mapping[str, str]
    url: str
    url_names: tuple[str, ...]
    parts: Mapping[str, str]
    arguments: tuple[str, ...] = ()


_DATABASE_PARTS = {
    "DB_HOST": "{host}",
    "DB_PORT": "{port}",
    "DB_USER": "{user}",
    "DB_USERNAME": "{user}",
    "DB_PASSWORD": "{password}",
    "DB_NAME": "{database}",
    "DB_DATABASE": "{database}",
}

FACTS: Mapping[ServiceKind, ServiceKindFacts] = MappingProxyType(
    {
        ServiceKind.POSTGRES: ServiceKindFacts(
            image="postgres:17-alpine",
            port=5432,
            environment={
                "POSTGRES_USER": USER,
                "POSTGRES_PASSWORD": "{password}",
                "POSTGRES_DB": DATABASE,
            },
            url="postgresql://{user}:{password}@{host}:{port}/{database}",
            url_names=("APP_DATABASE_URL", "POSTGRES_URL", "POSTGRESQL_URL", "DATABASE_URL"),
            parts={
                "PGHOST": "{host}",
                "PGPORT": "{port}",
                "PGUSER": "{user}",
                "PGPASSWORD": "{password}",
                "PGDATABASE": "{database}",
                "POSTGRES_HOST": "{host}",
                "POSTGRES_PORT": "{port}",
                "POSTGRES_USER": "{user}",
                "POSTGRES_PASSWORD": "{password}",
                "POSTGRES_DB": "{database}",
                **_DATABASE_PARTS,
            },
        ),
        ServiceKind.MYSQL: ServiceKindFacts(
            image="mysql:8.4",
            port=3306,
            environment={
                "MYSQL_RANDOM_ROOT_PASSWORD": "yes",
                "MYSQL_USER": USER,
                "MYSQL_PASSWORD": "{password}",
                "MYSQL_DATABASE": DATABASE,
            },
            url="mysql://{user}:{password}@{host}:{port}/{database}",
            url_names=("MYSQL_URL", "DATABASE_URL"),
            parts={
                "MYSQL_HOST": "{host}",
                "MYSQL_PORT": "{port}",
                "MYSQL_USER": "{user}",
                "MYSQL_PASSWORD": "{password}",
                "MYSQL_DATABASE": "{database}",
                **_DATABASE_PARTS,
            },
        ),
        ServiceKind.REDIS: ServiceKindFacts(
            image="valkey/valkey:8-alpine",
            port=6379,
            environment={},
            url="redis://:{password}@{host}:{port}",
            url_names=("REDIS_URL",),
            parts={
                "REDIS_HOST": "{host}",
                "REDIS_PORT": "{port}",
                "REDIS_PASSWORD": "{password}",
            },
            arguments=("--requirepass", "{password}"),
        ),
        ServiceKind.MONGODB: ServiceKindFacts(
            image="mongo:8",
            port=27017,
            environment={
                "MONGO_INITDB_ROOT_USERNAME": USER,
                "MONGO_INITDB_ROOT_PASSWORD": "{password}",
            },
            url="mongodb://{user}:{password}@{host}:{port}/{database}?authSource=admin",
            url_names=("MONGODB_URI", "MONGODB_URL", "MONGO_URL", "MONGO_URI", "DATABASE_URL"),
            parts={},
        ),
    }
)


@dataclass(frozen=True, slots=True)
class NeededService:
    """A service that a command needs.

    Attributes:
        image: The container image.
        names: Variables of the project that hold the service's address, each with the scheme of the
            URL that it expects, such as ``postgresql+asyncpg``.
        hosts: Host names under which the project may look for it.
        reason: Why it is needed.
        declared: Whether the job chose an image of its own, so that a crash is its fault.
        other: What the job says of a service of another kind.
        password: The password of this attempt.
    """

    kind: ServiceKind
    image: str
    names: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    hosts: tuple[str, ...] = ()
    declared: bool = False
    other: Service | None = field(default=None, hash=False)
    password: str = field(default_factory=new_password, repr=False)

    @property
    def facts(self) -> ServiceKindFacts:
        """The facts of its kind."""
        if self.other is not None and self.other.port is not None:
            return ServiceKindFacts(self.image, self.other.port, {}, "", (), {})
        return FACTS[self.kind]

    @property
    def name(self) -> str:
        """Its host name in a container."""
        return str(self.kind) if self.other is None else self.other.name or ""

    def environment(self) -> dict[str, str]:
        """Return the variables of the server's container."""
        if self.other is not None:
            return dict(self.other.env)
        return {
            name: text.format(password=self.password)
            for name, text in self.facts.environment.items()
        }

    def arguments(self) -> list[str]:
        """Return the arguments of the server's container."""
        return [text.format(password=self.password) for text in self.facts.arguments]

    def variables(self, host: str, port: int) -> dict[str, str]:
        """Return the variables by which a command finds the service."""
        if self.other is not None:
            prefix = self.name.upper().replace("-", "_")
            return {f"{prefix}_HOST": host, f"{prefix}_PORT": str(port)}
        values = {
            "user": USER,
            "database": DATABASE,
            "password": self.password,
            "host": host,
            "port": port,
        }
        url = self.facts.url.format(**values)
        parts = {name: text.format(**values) for name, text in self.facts.parts.items()}
        return dict.fromkeys(self.facts.url_names, url) | parts

    def named_variables(self, host: str, port: int) -> dict[str, str]:
        """Return the service's address in the variables that the project names for it."""
        if not self.names:
            return {}
        address = self.variables(host, port)[self.facts.url_names[0]].partition("://")[2]
        return {name: f"{scheme}://{address}" for name, scheme in self.names}


def service_variables(
    services: Mapping[NeededService, tuple[str, int]], given: Container[str]
) -> dict[str, str]:
    """Return the variables of all services; the job's own stay.

    What the project names for a service wins over the usual variables, then the first service.

    Args:
        services: The address of each.
        given: Names of variables that the job sets itself.
    """
    variables: dict[str, str] = {}
    for service, address in services.items():
        variables = service.variables(*address) | variables
    for service, address in services.items():
        variables |= service.named_variables(*address)
    return {name: value for name, value in variables.items() if name not in given}
