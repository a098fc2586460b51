"""Step types: the typed operations that a job replays in a sandbox."""

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from revalid.jobs.constants import DAY_S

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _encodable(text: str) -> str:
    text.encode()  # UnicodeEncodeError is a ValueError
    return text


Text = Annotated[str, AfterValidator(_encodable)]
"""Any text that JSON can carry: Python's own may hold half a surrogate pair, from a bad byte."""

SandboxPath = Annotated[
    str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00\r\n]+$")
]
"""A path in the sandbox; relative ones start at the workdir."""


class Frozen(BaseModel):
    """A value: unknown fields are refused and nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Exec(Frozen):
    """Run ``command`` through ``sh -c`` in the workdir; any exit code is a result.

    Attributes:
        name: What reports call the step; the command's first line by default.
        timeout_s: Seconds; the job's ``command_timeout_s`` by default.
        allow_failure: A non-zero exit or a timeout does not fail the job.
    """

    op: Literal["exec"] = "exec"
    command: str = Field(min_length=1, max_length=100_000)
    name: str | None = Field(default=None, min_length=1, max_length=200)
    timeout_s: float | None = Field(default=None, gt=0, le=DAY_S)
    allow_failure: bool = False

    @field_validator("command")
    @classmethod
    def _no_nul(cls, command: str) -> str:
        if "\0" in command or not command.strip():
            raise ValueError("a command must not be blank or hold a NUL byte")
        return command


class WriteFile(Frozen):
    """Write one text file, making its parents."""

    op: Literal["write_file"] = "write_file"
    path: SandboxPath
    content: Text
    mode: int = Field(default=0o644, ge=0, le=0o7777)


class WriteFiles(Frozen):
    """Write many text files as one operation."""

    op: Literal["write_files"] = "write_files"
    files: dict[SandboxPath, Text] = Field(min_length=1)


class ReadFile(Frozen):
    """Read a file into the step's output."""

    op: Literal["read_file"] = "read_file"
    path: SandboxPath


class DeleteFile(Frozen):
    """Delete one file."""

    op: Literal["delete_file"] = "delete_file"
    path: SandboxPath


class ListDirectory(Frozen):
    """List a directory into the step's output, directories with a trailing ``/``."""

    op: Literal["list_directory"] = "list_directory"
    path: SandboxPath = "."


class SetWorkdir(Frozen):
    """Change the directory that later steps start in, making it if missing."""

    op: Literal["set_workdir"] = "set_workdir"
    path: SandboxPath


class SetEnv(Frozen):
    """Set one environment variable for later steps."""

    op: Literal["set_env"] = "set_env"
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    value: str = Field(pattern=r"^[^\x00]*$")


class ExportDirectory(Frozen):
    """Keep a directory of the sandbox as an artifact of the attempt; it names no host path."""

    op: Literal["export_directory"] = "export_directory"
    path: SandboxPath


class RefreshFromHost(Frozen):
    """Copy a directory that the worker sees, under its ``REVALID_SOURCE_ROOTS``, over ``path``."""

    op: Literal["refresh_from_host"] = "refresh_from_host"
    host_path: SandboxPath
    path: SandboxPath = "."


Step = Annotated[
    Exec
    | WriteFile
    | WriteFiles
    | ReadFile
    | DeleteFile
    | ListDirectory
    | SetWorkdir
    | SetEnv
    | ExportDirectory
    | RefreshFromHost,
    Field(discriminator="op"),
]
