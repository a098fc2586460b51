"""Writes a batch's report to a file, and reads one back."""

import errno
import json
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from revalid.jobs import atomic_write
from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import describe
from revalid.producer.report.csv_table import to_csv
from revalid.producer.report.junit import to_junit
from revalid.producer.report.markdown import to_markdown
from revalid.producer.report.model import BatchReport
from revalid.producer.sanitize import visible_json

FORMATS = ("junit", "html", "json", "csv", "markdown")


def write(report: BatchReport, format: str, path: Path) -> None:
    """Write a report atomically.

    Args:
        format: One of :data:`FORMATS`.

    Raises:
        InvalidJob: The format is unknown, or the file cannot be written.
    """
    data = render(report, format).encode(errors="replace")
    try:
        # Do not replace something other than a file, such as /dev/stdout.
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            atomic_write.replace(path, data)
    except OSError as error:
        raise InvalidJob(f"cannot write the report {path}: {error.strerror or error}") from None


def check_path(path: Path) -> None:
    """Check that a report can be written to a path, before the batch begins.

    Raises:
        InvalidJob: The report cannot be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            return  # such as /dev/stdout
        with tempfile.TemporaryFile(
            dir=path.parent
        ):  # write() makes a new file here and renames it
            pass
    except OSError as error:
        raise InvalidJob(
            f"--report {path}: {error.strerror or error}; name a file in a directory that is there "
            "and yours to write to"
        ) from None


def render(report: BatchReport, format: str) -> str:
    """Render a report as text.

    Raises:
        InvalidJob: The format is unknown.
    """
    match format:
        case "json":
            return visible_json(report.model_dump_json(indent=1)) + "\n"
        case "junit":
            return to_junit(report)
        case "csv":
            return to_csv(report)
        case "markdown":
            return to_markdown(report)
        case "html":
            # Only this function needs Jinja2, which is slow to import.
            from revalid.producer.report.html import to_html

            return to_html(report)
        case _:
            known = ", ".join(FORMATS)
            raise InvalidJob(f"no report format {format!r}: choose one of {known}")


def read(path: Path) -> BatchReport:
    """Read a report that was written as JSON.

    Raises:
        InvalidJob: The file cannot be read, is no report, or is one of another version.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidJob(f"cannot read the report {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InvalidJob(f"{path} is not JSON: give a report written as json") from None
    if not isinstance(document, dict) or not document.keys() >= {"schema_version", "counts"}:
        raise InvalidJob(f"{path} is not a report of a batch: give one written as json")
    if (version := document["schema_version"]) != 1:
        raise InvalidJob(f"{path} is a report of version {version!r}: this revalid reads 1")
    try:
        return BatchReport.model_validate(document)
    except ValidationError as error:
        raise InvalidJob(f"{path} is not a report of a batch: {describe(error)[:500]}") from None
