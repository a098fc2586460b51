"""Step types: the operations that a job replays in a sandbox."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from revalid.jobs.constants import DAY_S

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_variables(names: Iterable[str]) -> None:
    """Raise :class:`ValueError` if a name is none of an environment variable."""
    for name in names:
        if not VARIABLE.match(name):
            raise ValueError(f"{name!r} is not a variable name: use letters, digits and _")


def _encodable(text: str) -> str:
    text.encode()  # UnicodeEncodeError is a ValueError
    return text


Text = Annotated[str, AfterValidator(_encodable)]
"""Text that UTF-8 can encode; a Python string may also hold half of a surrogate pair."""

SandboxPath = Annotated[
    str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00\r\n]+$")
]
"""A path in the sandbox; a relative one starts at the workdir."""


class Frozen(BaseModel):
    """A base for immutable models; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, fields: Any) -> Any:
        """Drop computed fields, which a document also has; they are computed again."""
        if not cls.model_computed_fields or not isinstance(fields, Mapping):
            return fields
        return {name: fields[name] for name in fields if name not in cls.model_computed_fields}


class Exec(Frozen):
    """Run ``command`` through ``sh -c`` in the workdir; any exit code is a result.

    Attributes:
        name: The step's name in reports; the command's first line by default.
        timeout_s: Time limit in seconds; the job's ``command_timeout_s`` by default.
        allow_failure: Whether the job may pass although this command failed or timed out.
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
            raise ValueError("a command must not be blank or contain a NUL byte")
        return command


class WriteFile(Frozen):
    """Write one text file; parent directories are created."""

    op: Literal["write_file"] = "write_file"
    path: SandboxPath
    content: Text
    mode: int = Field(default=0o644, ge=0, le=0o7777)


class WriteFiles(Frozen):
    """Write many text files in one operation."""

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
    """List a directory into the step's output; directories end with ``/``."""

    op: Literal["list_directory"] = "list_directory"
    path: SandboxPath = "."


class SetWorkdir(Frozen):
    """Set the working directory of later steps; it is created if missing."""

    op: Literal["set_workdir"] = "set_workdir"
    path: SandboxPath


class SetEnv(Frozen):
    """Set one environment variable for later steps."""

    op: Literal["set_env"] = "set_env"
    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    value: str = Field(pattern=r"^[^\x00]*$")


class ExportDirectory(Frozen):
    """Keep a directory of the sandbox as an artifact of the attempt."""

    op: Literal["export_directory"] = "export_directory"
    path: SandboxPath


class RefreshFromHost(Frozen):
    """Copy a directory of the worker, under its ``REVALID_SOURCE_ROOTS``, over ``path``."""

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
