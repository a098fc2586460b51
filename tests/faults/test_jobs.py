"""Rows 16 and 18: cancelled jobs, and hostile projects."""

import gzip
import io
import resource
import tarfile
import time
from pathlib import Path

import psutil
import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client
from revalid.worker.sandboxes.protocol import KILL_GRACE_S
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, counted, runs, since, types
from tests.faults.fleet import Fleet, eventually
from tests.jobs.projects.test_tarball_hostile import REFUSED
from tests.jobs.tarballs import END, directory

CANCELLED_S = 5.0


@pytest.mark.row(16)
@pytest.mark.slow
def test_cancel(fleet: Fleet, submit: Submit, short: Path, proved: Proved) -> None:
    fleet.start()
    pids = short / "pids"
    running = submit("echo up; sleep 600")
    await_event(running, "output")
    ordinary = time.monotonic()
    running.cancel()
    (step,) = running.result(30).steps
    at_once = since(ordinary)
    assert (step.cancelled, step.stdout) == (True, "up\n")
    assert at_once <= CANCELLED_S
    running = submit(f"trap '' TERM; echo $$ >> {pids}; while true; do sleep 1; done")
    await_event(running, "step_started")
    eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
    queued = submit(counted("true", short / "marks"))
    assert queued.cancel() is JobState.QUEUED
    assert queued.result(CANCELLED_S).verdict is Verdict.CANCELLED
    cancelled_at = time.monotonic()
    assert running.cancel() is JobState.RUNNING
    result = running.result(30)
    ended = since(cancelled_at)
    assert result.verdict is Verdict.CANCELLED
    assert not psutil.pid_exists(int(pids.read_text()))
    assert submit().result(30).verdict is Verdict.PASSED
    assert not runs(short / "marks")
    assert_recorded_once(queued, Verdict.CANCELLED)
    assert_recorded_once(running, Verdict.CANCELLED)
    assert "started" not in types(queued)
    assert ended <= CANCELLED_S + KILL_GRACE_S
    proved(
        f"running: ended {at_once:.1f} s after; deaf to SIGTERM: {ended:.1f} s "
        f"(of at most {CANCELLED_S + KILL_GRACE_S:g}, with its grace); queued: at once, never ran"
    )


@pytest.mark.row(16)
@pytest.mark.dagger
@pytest.mark.slow
def test_cancel_in_a_container(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    fleet.start()
    running = submit("trap 'echo cleaned; exit 3' TERM; echo up; sleep 600", sandbox="dagger")
    await_event(running, "output")
    cancelled_at = time.monotonic()
    assert running.cancel() is JobState.RUNNING
    result = running.result(30)
    assert result.verdict is Verdict.CANCELLED
    ended = since(cancelled_at)
    (step,) = result.steps
    assert (step.cancelled, step.exit_code, step.stdout) == (True, 3, "up\ncleaned\n")
    assert ended <= CANCELLED_S
    assert submit("true", sandbox="dagger").result(60).verdict is Verdict.PASSED
    proved(f"running in a container: ended {ended:.1f} s after")


@pytest.mark.row(18)
def test_hostile_tarballs(client: Client, short: Path, proved: Proved) -> None:
    before = set(short.iterdir())
    for data, _ in REFUSED.values():
        with pytest.raises(InvalidProject):
            client.submit(directory("safe") + data + END, commands=["true"], fresh=True)
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as zipped:
        info = tarfile.TarInfo("zeros")
        info.size = 2**29
        zipped.write(info.tobuf(tarfile.PAX_FORMAT))
        for _ in range(2**29 // 2**20):
            zipped.write(bytes(2**20))
    started = time.monotonic()
    with pytest.raises(InvalidProject):
        client.submit(bomb.getvalue(), commands=["true"], fresh=True)
    bombed = since(started)
    assert client._redis.dbsize() == 0
    assert set(short.iterdir()) == before
    assert not Path("/escaped").exists()
    proved(
        f"{len(REFUSED)} hostile tarballs and a bomb ({bomb.tell() // 1024} KiB for 512 MiB, "
        f"{bombed:.1f} s) refused; nothing stored, nothing written"
    )


@pytest.mark.row(18)
@pytest.mark.slow
def test_huge_tarball(client: Client, short: Path, proved: Proved) -> None:
    huge = short / "huge.tar"
    info = tarfile.TarInfo("zeros")
    info.size = 2**30
    with huge.open("wb") as file:
        file.write(info.tobuf(tarfile.PAX_FORMAT))
        file.truncate(2**30 + 10_240)  # sparse: no disk is used
    bounded = load_settings({}, env_file=None, broker_url=client.url, project_bytes=2**29)
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with Client(bounded) as small, pytest.raises(InvalidProject) as caught:
        small.submit(huge, commands=["true"])
    took = since(started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before) // 1024
    assert client._redis.dbsize() == 0
    assert grown < 100, f"{grown} MiB more"
    assert took < 30
    proved(
        f"1 GiB against a bound of 512 MiB refused in {took:.1f} s, {grown} MiB more: "
        f"{str(caught.value).partition(': ')[2]}"
    )
