"""Rows 14 and 15: the engine, or a session with it, dies or freezes while a job runs."""

import time
from pathlib import Path

import psutil
import pytest

from revalid.jobs.result import Verdict
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, since, types
from tests.faults.engine import RESTART_S, EngineProcess
from tests.faults.fleet import Fleet, eventually

DETECTED_S = 30.0
FREED_S = 5.0


@pytest.mark.row(14)
@pytest.mark.dagger
@pytest.mark.slow
def test_session_killed(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    worker = fleet.start()
    handle = submit("sleep 3", sandbox="dagger")
    await_event(handle, "step_started")
    (session,) = worker.sessions()
    session.kill()
    killed = time.monotonic()
    await_event(handle, "step_started", 2)
    retried = since(killed)
    result = handle.result(60)
    assert_recorded_once(handle)
    assert (result.attempts, types(handle).count("step_started")) == (1, 2)
    assert worker.alive
    proved(f"killed session: reconnected and tried again after {retried:.1f} s, passed, attempt 1")


@pytest.mark.row(14)
@pytest.mark.dagger
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_engine_killed(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    worker = fleet.start()
    engine = EngineProcess()
    handle = submit("sleep 5", sandbox="dagger", lane="batch")
    await_event(handle, "step_started")
    engine.kill()
    killed = time.monotonic()
    restart = engine.restart()
    try:
        assert restart.wait(RESTART_S) == 0, "the command did not start the engine again"
        answered = since(killed)
        result = handle.result(120)
    finally:
        restart.kill()
        restart.wait(10)
    ended = since(killed)
    assert result.verdict is Verdict.PASSED, result.error
    assert_recorded_once(handle)
    assert worker.alive
    assert submit(sandbox="dagger").result(60).verdict is Verdict.PASSED
    proved(
        f"killed engine: it answered again after {answered:.0f} s, the job passed after "
        f"{ended:.0f} s in attempt {result.attempts}"
    )


@pytest.mark.row(15)
@pytest.mark.dagger
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_engine_frozen(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    worker = fleet.start()
    engine = EngineProcess()
    handle = submit("sleep 2", sandbox="dagger", limits={"engine_wait_s": 5})
    await_event(handle, "step_started")
    (session,) = worker.sessions()
    with engine.frozen():
        started = time.monotonic()
        after = submit()
        eventually(lambda: not session.is_running(), 60, awaited="the loss's detection")
        detected = since(started)
        result = handle.result(150)
        ended = since(started)
        next_result = after.result(60)
    freed = (next_result.finished_at - result.finished_at).total_seconds()
    assert_recorded_once(handle, Verdict.ERRORED)
    assert submit(sandbox="dagger", lane="batch").result(120).verdict is Verdict.PASSED
    assert worker.alive
    assert detected <= DETECTED_S, f"detected after {detected:.1f} s"
    assert freed <= FREED_S, f"the slot was free {freed:.1f} s after"
    proved(
        f"frozen engine: detected after {detected:.1f} s, errored after {ended:.1f} s, the next "
        f"job's end {freed:.1f} s later; thawed: a job passed"
    )


@pytest.mark.row(15)
@pytest.mark.dagger
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_engine_frozen_for_a_moment(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    fleet.start()
    engine = EngineProcess()
    handle = submit("sleep 4", sandbox="dagger")
    await_event(handle, "step_started")
    with engine.frozen():
        time.sleep(8)  # the fault itself
    result = handle.result(60)
    assert_recorded_once(handle)
    assert result.attempts == 1
    again = types(handle).count("step_started")
    proved(f"frozen for 8 s: passed, attempt 1, step started {again} times")


@pytest.mark.slow
@pytest.mark.row(15)
def test_session_that_never_answers(
    fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    silent = short / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 31415\n")
    silent.chmod(0o755)
    worker = fleet.start(_EXPERIMENTAL_DAGGER_CLI_BIN=str(silent), REVALID_CONNECT_TIMEOUT_S="2")
    handle = submit(sandbox="dagger", limits={"engine_wait_s": 5})
    after = submit()
    started = time.monotonic()
    result = handle.result(40)
    ended = since(started)
    freed = (after.result(30).finished_at - result.finished_at).total_seconds()
    assert_recorded_once(handle, Verdict.ERRORED)
    assert "no Dagger engine" in str(result.error)
    assert freed <= FREED_S
    assert not [
        command_line for command_line in below(worker.process.pid) if "31415" in command_line
    ]
    proved(f"fake that never answers: errored after {ended:.1f} s, slot free {freed:.1f} s later")


def below(pid: int) -> list[str]:
    """Return the command lines of a process's descendants."""
    return [" ".join(process.cmdline()) for process in psutil.Process(pid).children(recursive=True)]
