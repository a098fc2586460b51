"""Reads trajectories: files with one recorded step per line, as JSON."""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import describe
from revalid.jobs.steps import Step

_STEP: TypeAdapter[Step] = TypeAdapter(Step)


def read_trajectory(path: Path) -> list[Step]:
    """Read the steps of a JSON Lines file; blank lines are skipped.

    Raises:
        InvalidJob: The file cannot be read or has no step, or a line is not a step.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InvalidJob(f"trajectory {path}: {error.strerror}; give a JSON Lines file") from None
    except UnicodeDecodeError:
        raise InvalidJob(f"trajectory {path}: not UTF-8 text; give a JSON Lines file") from None
    steps: list[Step] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"trajectory {path}, line {number}"
        try:
            steps.append(_STEP.validate_python(json.loads(line)))
        except ValidationError as error:
            raise InvalidJob(f"{where}: {describe(error)}") from None
        except (ValueError, RecursionError) as error:
            raise InvalidJob(f"{where}: not JSON ({error}); write one step per line") from None
    if not steps:
        raise InvalidJob(f"trajectory {path}: it has no steps; write one JSON object per line")
    return steps
