"""Services that checks of a project use, such as a database."""

import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from revalid.jobs.steps import Frozen, check_variables

SERVICE_NAME = re.compile(r"[a-z][a-z0-9-]{0,60}\Z")


class ServiceKind(StrEnum):
    """A kind of service: those that revalid knows how to start and to hand over, and any other."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    REDIS = "redis"
    MONGODB = "mongodb"
    OTHER = "other"


KNOWN_KINDS = tuple(kind for kind in ServiceKind if kind is not ServiceKind.OTHER)
EnvValue = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=4_096)]


class Service(Frozen):
    """A service that runs beside a check, fresh for each.

    Attributes:
        kind: What it is; it decides the variables by which a command finds it.
        image: The container image; the kind's own by default. The local sandbox takes the server
            that is installed on the worker.
        name: The host name of one of another kind; a command finds it by ``NAME_HOST`` and
            ``NAME_PORT``.
        env: The variables of the server of another kind. The ledger stores them: not for secrets.
        port: The port on which one of another kind listens; it is ready when it does.
        ready: A path on that port; it is then ready when it answers below 400.
    """

    kind: ServiceKind
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    name: str | None = Field(default=None, exclude_if=lambda name: name is None)
    env: dict[str, EnvValue] = Field(
        default_factory=dict, max_length=64, exclude_if=lambda env: not env
    )
    port: int | None = Field(default=None, ge=1, le=65_535, exclude_if=lambda port: port is None)
    ready: Annotated[str, StringConstraints(pattern=r"^/[\w./?=&%-]{0,200}$")] | None = Field(
        default=None, exclude_if=lambda ready: ready is None
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        own = self.name is not None or self.env or self.port is not None or self.ready is not None
        if self.kind is not ServiceKind.OTHER:
            if own:
                raise ValueError(f"{self.kind}: name, env, port and ready are for kind 'other'")
            return self
        if self.name is None or self.image is None or self.port is None:
            raise ValueError("a service of kind 'other' needs name, image and port")
        if not SERVICE_NAME.match(self.name) or self.name in {*KNOWN_KINDS, "localhost"}:
            raise ValueError(f"{self.name!r} is no name of a service: use a-z, 0-9 and -")
        check_variables(self.env)
        return self


class ServiceReport(Frozen):
    """A service that checks used.

    Attributes:
        name: The host name under which a container finds it.
        image: The image that ran; None in the local sandbox.
        env: The names of its server's variables.
        port: The port that its server listens on; None in the local sandbox, which chooses one.
        ready_s: Seconds until it was ready, at the slowest start; None if it was not.
        reason: Why it was started.
    """

    kind: ServiceKind
    name: str = ""
    image: str | None = Field(default=None)
    env: tuple[str, ...] = ()
    port: int | None = None
    ready_s: float | None = None
    reason: str = ""
