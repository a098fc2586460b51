"""Services that checks of a project use, such as a database."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from revalid.jobs.steps import Frozen


class ServiceKind(StrEnum):
    """A kind of service that revalid knows how to start and how to hand over."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    REDIS = "redis"
    MONGODB = "mongodb"


class Service(Frozen):
    """A service that runs beside a check and is started anew for each one.

    Attributes:
        kind: The kind of server; it decides the variables by which a command finds it.
        image: The container image; the kind's own by default. The local sandbox takes the server
            that is installed on the worker.
    """

    kind: ServiceKind
    image: Annotated[str, StringConstraints(max_length=512)] | None = None


class ServiceReport(Frozen):
    """A service that checks used.

    Attributes:
        image: The image that ran; None in the local sandbox.
        reason: Why it was started.
    """

    kind: ServiceKind
    image: str | None = Field(default=None)
    reason: str = ""
