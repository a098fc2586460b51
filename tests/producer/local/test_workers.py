import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from revalid.jobs.errors import InvalidSettings, WorkerUnavailable
from revalid.jobs.job import Lane
from revalid.jobs.ledger.keys import worker_key
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.queue import queue_name
from revalid.jobs.result import Verdict
from revalid.jobs.settings import Settings, load_settings
from revalid.jobs.worker_fingerprint import fingerprint
from revalid.producer.client import Client
from revalid.producer.local import workers
from revalid.producer.local.workers import (
    LocalWorker,
    WorkerProvider,
    absolute,
    attached,
    worker_environ,
)
from revalid.producer.submission import Submission, prepare


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def embedded_settings(settings: Settings) -> Settings:
    """Settings as ``attached`` gives them, of the session's broker."""
    return settings.model_copy(update={"embedded": True})


@pytest.fixture
def own_client(embedded_settings: Settings) -> Iterator[Client]:
    with Client(embedded_settings) as made:
        yield made


@pytest.fixture
def submission(embedded_settings: Settings, project: Path) -> Iterator[Submission]:
    with prepare(embedded_settings, project, commands=["cat hello.txt"], sandbox="local") as made:
        yield made


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a shell script in the worker's place."""

    def put(script: str) -> None:
        path = tmp_path / "worker.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def test_a_named_broker_is_used_and_nothing_started(tmp_path: Path) -> None:
    settings = load_settings(
        {"REVALID_BROKER_URL": "redis://127.0.0.1:1/0", "REVALID_HOME": str(tmp_path / "h")},
        env_file=None,
    )
    with attached(settings) as found:
        assert (found.broker_url, found.embedded) == ("redis://127.0.0.1:1/0", False)
    assert not (tmp_path / "h").exists()


def test_without_a_url_the_embedded_broker_runs_inside_the_block(tmp_path: Path) -> None:
    settings = load_settings({"REVALID_HOME": str(tmp_path)}, env_file=None)
    with attached(settings) as found, Client(found) as client:
        assert found.embedded
        client.ping()
        pid = client._redis.info("server")["process_id"]
    assert not psutil.pid_exists(pid)


def test_paths_do_not_depend_on_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "REVALID_HOME": "home",
        "REVALID_SCRATCH": "scratch",
        "REVALID_SOURCE_ROOTS": "a,/b",
        "REVALID_SECRET_FILES": "s",
    }
    found = absolute(load_settings(environ, env_file=None))
    assert found.home == tmp_path / "home"
    assert found.scratch == tmp_path / "scratch"
    assert found.source_roots == (str(tmp_path / "a"), "/b")
    assert found.secret_files == (str(tmp_path / "s"),)


def test_a_worker_reads_the_settings_that_its_caller_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVALID_IMAGE", "not:this")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi")
    settings = load_settings(
        {"REVALID_SANDBOX": "local", "REVALID_CONNECT_TIMEOUT_S": "2.5", "REVALID_HOME": "/h"},
        env_file=None,
        source_roots=("/a b", "/c"),
        forward_env=(),
    ).model_copy(update={"broker_url": "unix:///s", "embedded": True, "instance": "x"})
    environ = worker_environ(settings)
    read = load_settings(environ, env_file=None)
    assert read == settings
    assert environ["DATABRICKS_TOKEN"] == "dapi"
    assert fingerprint(read, environ) == fingerprint(settings, os.environ)
    other = settings.model_copy(update={"instance": "y"})
    assert fingerprint(other, os.environ) != fingerprint(settings, os.environ)


def test_a_comma_in_a_path_is_refused_because_it_separates_paths() -> None:
    settings = load_settings({}, env_file=None, source_roots=("/a,/",))
    with pytest.raises(InvalidSettings, match="REVALID_SOURCE_ROOTS: '/a,/' contains a comma"):
        worker_environ(settings)


def test_a_worker_is_started_for_the_job_and_leaves_nothing(
    embedded_settings: Settings, own_client: Client, submission: Submission
) -> None:
    before = psutil.Process().children(recursive=True)
    with WorkerProvider(embedded_settings, own_client) as provider:
        handle = provider.submit(submission)
        result = handle.result(timeout_s=60)
        provider.check(submission)
        queue = handle.status().queue
        children = set(psutil.Process().children(recursive=True)) - set(before)
    assert result.verdict is Verdict.PASSED
    assert result.steps[0].stdout == "hello\n"
    assert queue != queue_name(Lane.INTERACTIVE)
    assert children
    until(lambda: all(map(gone, children)))
    assert own_client._redis.keys("*revalid.*") == []


def test_an_existing_verdict_needs_no_worker(
    embedded_settings: Settings,
    own_client: Client,
    submission: Submission,
    stand_in: Callable[[str], None],
) -> None:
    handle = own_client.send(submission)
    attempt = own_client._ledger.claim(handle.id, "test")
    assert attempt is not None
    own_client._ledger.finish(attempt, Verdict.PASSED, "{}", reusable=True)
    stand_in("exit 1")
    with WorkerProvider(embedded_settings, own_client) as provider:
        assert provider.submit(submission).outcome is SubmitOutcome.REUSED


def test_a_worker_of_the_callers_kind_is_used_and_replaced_when_it_leaves(
    embedded_settings: Settings, own_client: Client, submission: Submission
) -> None:
    name = fingerprint(embedded_settings, os.environ)
    own_client._redis.set(worker_key(name), "somebody", ex=10)
    with WorkerProvider(embedded_settings, own_client) as provider:
        handle = provider.submit(submission)
        provider.check(submission)
        assert handle.status().queue == queue_name(Lane.INTERACTIVE, name)
        own_client._redis.delete(worker_key(name))
        provider.check(submission)
        assert handle.result(timeout_s=60).verdict is Verdict.PASSED


def test_no_worker_is_started_on_the_users_broker(
    settings: Settings, client: Client, submission: Submission, stand_in: Callable[[str], None]
) -> None:
    stand_in("exit 1")
    with WorkerProvider(settings, client) as provider:
        handle = provider.submit(submission)
        provider.check(submission)
        assert handle.status().queue == queue_name(Lane.INTERACTIVE)


def test_a_worker_that_cannot_start_says_why_and_the_job_is_taken_back(
    embedded_settings: Settings,
    own_client: Client,
    submission: Submission,
    stand_in: Callable[[str], None],
) -> None:
    stand_in("echo first; echo no such module >&2; exit 7")
    with (
        WorkerProvider(embedded_settings, own_client) as provider,
        pytest.raises(WorkerUnavailable, match=r"status 7; its log ends: first \| no such module"),
    ):
        provider.submit(submission)
    record = own_client._ledger.record(submission.job.id)
    assert (record.state, record.verdict) == (JobState.DONE, Verdict.CANCELLED)


def test_a_job_that_others_submitted_is_not_withdrawn(
    embedded_settings: Settings,
    own_client: Client,
    submission: Submission,
    stand_in: Callable[[str], None],
) -> None:
    handle = own_client.send(submission)
    stand_in("exit 7")
    with (
        WorkerProvider(embedded_settings, own_client) as provider,
        pytest.raises(WorkerUnavailable),
    ):
        provider.submit(submission)
    assert handle.status().state is JobState.QUEUED


def test_a_worker_that_is_never_ready_is_given_up(
    embedded_settings: Settings,
    own_client: Client,
    stand_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in("echo dreaming; read line")
    monkeypatch.setattr(workers, "START_SECONDS", 0.0)
    worker = LocalWorker(embedded_settings)
    try:
        with pytest.raises(WorkerUnavailable, match=r"was not ready within 0 s"):
            worker.wait(own_client)
        worker.check()
    finally:
        worker.stop()


def test_a_worker_that_does_not_stop_is_killed_with_all_it_started(
    embedded_settings: Settings,
    stand_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stand_in(f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/pid; wait")
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.1)
    worker = LocalWorker(embedded_settings)
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    child = psutil.Process(int(pid.read_text()))
    worker.stop()
    until(lambda: gone(child))
