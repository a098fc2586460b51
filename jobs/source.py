"""Sources: where a job's project comes from."""

from typing import Annotated, Literal

from pydantic import Field

from revalid.jobs.steps import Frozen


class LeftOut(Frozen):
    """A file or directory that was not packed.

    Attributes:
        path: Relative to the project; a directory ends with a slash.
        rule: What left it out, such as ``lib/ in .gitignore``.
        size_bytes: Bytes of it, at least: of many files not all are measured.
    """

    path: str = Field(max_length=400)
    rule: str = Field(max_length=400)
    size_bytes: int = Field(default=0, ge=0)


class TarballSource(Frozen):
    """A project in the blob store.

    Attributes:
        digest: sha256 of the stored bytes, in hex.
        size_bytes: Size of the stored tarball.
        left_out: What the producer did not pack. Not part of a job's id.
    """

    kind: Literal["tarball"] = "tarball"
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    left_out: tuple[LeftOut, ...] = Field(
        default=(), max_length=64, exclude_if=lambda left_out: not left_out
    )


class PathSource(Frozen):
    """A directory on the worker, under one of its ``REVALID_SOURCE_ROOTS``."""

    kind: Literal["path"] = "path"
    path: str = Field(pattern=r"^/[^\x00\r\n]*$", max_length=4096)


Source = Annotated[TarballSource | PathSource, Field(discriminator="kind")]
