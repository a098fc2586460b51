"""One project of a batch, as it is kept in Redis and on disk."""

from typing import Any

from pydantic import Field

from revalid.jobs.steps import Frozen


class BatchItem(Frozen):
    """One project of a batch, to be submitted once.

    Attributes:
        project: The project's name in reports.
        origin: A path or a Git URL.
        labels: Labels of this project.
        options: Arguments of :func:`.prepare` that differ from the batch's.
        repeat: Number of this run, 1 to the ``--repeat`` of the batch.
    """

    project: str
    origin: str
    labels: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    repeat: int = 1
