"""Sources: where a job's project comes from."""

from typing import Annotated, Literal

from pydantic import Field

from revalid.jobs.steps import Frozen


class TarballSource(Frozen):
    """A project in the blob store.

    Attributes:
        digest: sha256 of the stored bytes, in hex.
        size_bytes: Size of the stored tarball.
    """

    kind: Literal["tarball"] = "tarball"
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class PathSource(Frozen):
    """A directory on the worker, under one of its ``REVALID_SOURCE_ROOTS``."""

    kind: Literal["path"] = "path"
    path: str = Field(pattern=r"^/[^\x00\r\n]*$", max_length=4096)


Source = Annotated[TarballSource | PathSource, Field(discriminator="kind")]
