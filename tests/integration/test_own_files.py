"""A worker whose own files fail takes no jobs, and no job fails because of it."""

import resource
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from revalid.jobs.ledger.workers import workers
from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from revalid.producer.metrics import LedgerCollector
from tests.integration.conftest import StartWorker, eventually
from tests.worker.disks import small_disk

pytestmark = pytest.mark.slow


def registry_of(client: Client) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(client._ledger, client.url))
    return registry


def test_a_worker_with_a_full_disk_takes_no_jobs_until_there_is_room(
    client: Client, start_worker: StartWorker, project: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 80 * 2**20) as disk:
        home = tmp_path / "sick"
        sick = start_worker(
            REVALID_SCRATCH=str(disk), REVALID_HOME=str(home), REVALID_CONCURRENCY="2"
        )
        start_worker(REVALID_HOME=str(tmp_path / "healthy"))
        with (disk / "filling").open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(2**20))
                file.flush()
        handles = [
            client.submit(project, commands=[f"echo {number}"], sandbox="local")
            for number in range(12)
        ]
        assert {handle.result(90).verdict for handle in handles} == {Verdict.PASSED}
        reasons = {worker.reason for worker in workers(client._redis)}
        assert reasons == {None, f"{disk}: No space left on device"}
        assert client._ledger.stats().slots == 1
        samples = generate_latest(registry_of(client))
        assert b"revalid_workers_out_of_service 1.0" in samples
        before = (home / "alive").stat().st_mtime
        (disk / "filling").unlink()
        eventually(lambda: "takes jobs again" in sick.log.read_text())
        eventually(lambda: (home / "alive").stat().st_mtime > before)
        assert {worker.reason for worker in workers(client._redis)} == {None}


def test_a_job_that_workers_fail_three_times_is_errored(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    assert client.submit(project, commands=["true"], sandbox="local").result(60).verdict == "passed"
    (child,) = worker.children()
    limits = child.rlimit(resource.RLIMIT_NOFILE)
    child.rlimit(resource.RLIMIT_NOFILE, (child.num_fds(), limits[1]))  # the parent has enough
    handle = client.submit(project, commands=["echo other"], sandbox="local")
    result = handle.result(90)
    assert (result.verdict, result.attempts) == (Verdict.ERRORED, 3)
    assert "failed the job 3 times, last: [Errno 24] Too many open files" in str(result.error)
    assert client._ledger.stats().counters["faults",] == 2
    child.rlimit(resource.RLIMIT_NOFILE, limits)
    other = client.submit(project, commands=["echo another"], sandbox="local")
    assert other.result(60).verdict is Verdict.PASSED
