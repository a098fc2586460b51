"""``doctor``: is everything there that a validation needs, and how is it mended?"""

import json as jsonlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast
import os

from rich.text import Text

from jobs.connection import redact
from jobs.errors import JobError
from jobs.job import SandboxPolicy
from jobs.settings import Settings, load_settings
from producer.cli.output import OUR_SIDE, console, one_line, print_json
from producer.client import Client
from producer.embedded import absolute, attached, worker_environ

_PROBE_MARGIN_S = 10.0
_LOW_BYTES, _FULL_BYTES = 5 * 2**30, 2**29
_STYLE = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Check:
    """One row: ``mend`` says what to do where ``state`` is not ``ok``."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    mend: str | None = None
