"""Runs ``revalid`` as users do: as a process, with or without a real terminal."""

import io
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest
from rich.console import Console

from revalid.jobs.result import JobResult, StepResult, Verdict

REVALID = str(Path(sys.executable).with_name("revalid"))
_MARK = "TEST_OF_REVALID"
LOCAL = ("--sandbox", "local")


def commands(*lines: str) -> list[str]:
    """The options that run these lines."""
    return [word for line in lines for word in ("--command", line)]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("error: ").removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Revalid:
    """Runs commands with a home of their own."""

    home: Path
    environ: Mapping[str, str]
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def __call__(self, *arguments: str | Path, cwd: Path | None = None, **environ: str) -> Ran:
        """Run a command to its end."""
        done = subprocess.run(
            [REVALID, *map(str, arguments)],
            env={**self.environ, **environ},
            cwd=cwd or self.home.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path, **environ: str) -> "subprocess.Popen[str]":
        """Start a command and go on; it ends with the test at the latest."""
        process = subprocess.Popen(
            [REVALID, *map(str, arguments)],
            env={**self.environ, **environ},
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def left(self) -> list[psutil.Process]:
        """Processes that commands of this home have left behind."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            words = process.cmdline()
            return process.environ().get(_MARK) == self.environ[_MARK] or any(
                str(self.home) in word for word in words
            )
        except psutil.Error:
            return False


class Until(Protocol):
    """Waits for a condition, with a bound."""

    def __call__(self, condition: Callable[[], bool], /) -> None: ...


@pytest.fixture
def until() -> Until:
    """Waits at most 60 s."""

    def wait(condition: Callable[[], bool], /) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


@pytest.fixture
def revalid(tmp_path: Path, until: Until) -> Iterator[Revalid]:
    """The command, with an empty home; nothing may be left running after the test."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REVALID_")}
    for name in ("FORCE_COLOR", "NO_COLOR", "DATABRICKS_TOKEN"):
        environ.pop(name, None)
    home = tmp_path / "home"
    environ |= {"REVALID_HOME": str(home), _MARK: uuid.uuid4().hex, "COLUMNS": "100"}
    environ["REVALID_BUBBLEWRAP"] = "false"  # the tests' commands wait for files below /tmp
    made = Revalid(home, environ)
    yield made
    for process in made.started:
        with process:
            process.terminate()
    until(lambda: not made.left())


@pytest.fixture
def served(revalid: Revalid, local_worker: str) -> Revalid:
    """The command on a broker with a worker that all tests share; it starts neither."""
    return replace(revalid, environ={**revalid.environ, "REVALID_BROKER_URL": local_worker})


START = datetime(2026, 1, 1, tzinfo=UTC)


def result(verdict: Verdict, *steps: StepResult, **fields: Any) -> JobResult:
    """The result of a job that took 2.5 s."""
    return JobResult(
        id="cafe",
        verdict=verdict,
        image="busybox",
        attempts=1,
        queued_at=START,
        started_at=START,
        finished_at=START + timedelta(seconds=2.5),
        steps=steps,
        **fields,
    )


def console() -> Console:
    """A console that prints to memory, without a terminal."""
    return Console(file=io.StringIO(), highlight=False, markup=False, emoji=False, soft_wrap=True)


def printed(made: Console) -> str:
    """Return everything that it has printed."""
    assert isinstance(made.file, io.StringIO)
    return made.file.getvalue()
