"""Describes a job for Flower's column of arguments, by names and never by its content."""

import re

from revalid.jobs.job import Job

_VALUE, _NAME, _LABELS = 48, 24, 3
_USER = re.compile(r"(?<=://)[^/\s?#]*@")
_QUERY = re.compile(r"\?[^\s#]+")


def task_arguments(job: Job, project: str = "", origin: str = "") -> str:
    """Describe a job as a literal of a dict, which Flower can search by ``kwargs:project=shop``.

    Args:
        project: The project's name.
        origin: The path or the Git URL that it comes from; a URL's credentials are left out.
    """
    labels = list(job.labels.items())[:_LABELS]
    facts = {
        "project": _end(project),
        **{f"label.{_start(name, _NAME)}": _start(value, _VALUE) for name, value in labels},
        "origin": _end(origin),
        "tenant": job.tenant,
        "strategy": str(job.strategy),
    }
    return repr({name: value for name, value in facts.items() if value})


def _start(text: str, most: int) -> str:
    text = _safe(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _end(text: str) -> str:
    text = _safe(text)
    return text if len(text) <= _VALUE else f"…{text[1 - _VALUE :]}"


def _safe(text: str) -> str:
    if "://" in text:
        text = _QUERY.sub("", _USER.sub("", text))
    return "".join(letter if letter.isprintable() else "?" for letter in text)
