"""From the ledger to the archive: each end of each job once, whatever happens between."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from revalid.jobs.errors import ArchiveUnavailable, InvalidJob
from revalid.jobs.ledger.keys import FINISHED_KEY, job_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.result import SandboxReport, SourceReport, StepResult, StrategyReport, Verdict
from revalid.producer.archive import copier
from revalid.producer.archive.copier import copy_finished
from revalid.producer.archive.store import Archive
from revalid.producer.client import Client
from tests.jobs.samples import DIGEST, make_job
from tests.producer.archive.databases import Query, run, run_many

# Ends as by kill -9 after so many inserts. The first is of the tables' version; then each batch has
# three: jobs, steps, position.
KILLED = """
import os, signal, sys
from pydantic import SecretStr
from sqlalchemy import Engine, event
from revalid.jobs.settings import load_settings
from revalid.producer.archive.copier import copy_finished
from revalid.producer.archive.store import Archive
from revalid.producer.client import Client

broker, url, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

@event.listens_for(Engine, "after_cursor_execute")
def count(_connection, _cursor, statement, *_):
    global left
    left -= statement.startswith("INSERT")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

archive = Archive(SecretStr(url))
archive.create()
list(copy_finished(Client(load_settings({}, env_file=None, broker_url=broker)), archive))
"""


def test_a_row_says_how_a_job_ended(client: Client, archive: Archive, query: Query) -> None:
    job = make_job(tenant="ada", labels={"app": "shop"}, lane="batch")
    steps = [
        StepResult(name="install", exit_code=0, cached=True, duration_s=1.5),
        StepResult(name="build", exit_code=2, stdout="a\0b", duration_s=0.5),
        StepResult(name="test", skipped_reason="no build"),
    ]
    run(
        client,
        job,
        *steps,
        verdict=Verdict.FAILED,
        sandbox=SandboxReport(kind="local"),
        source=SourceReport(digest="sha256:0"),
        strategy=StrategyReport(name="npm"),
    )
    assert list(copy_finished(client, archive)) == [1]
    (row,) = query("SELECT * FROM revalid_jobs")
    assert (row.id, row.tenant, row.lane, row.project) == (job.id, "ada", "batch", "sha256:0")
    assert (row.strategy, row.sandbox, row.verdict, row.failed_step) == (
        ("npm", "local", "failed", "build")
    )
    assert (row.image, row.attempts, row.error, bool(row.reused)) == (job.image, 1, None, False)
    result = client.decode(job.id, client._ledger.record(job.id))
    assert (row.duration_s, row.queued_s) == (result.duration_s, result.queued_s)
    found = query(
        "SELECT number, name, status, ok, cached, exit_code, duration_s FROM revalid_steps "
        "ORDER BY number"
    )
    assert [tuple(each) for each in found] == [
        (1, "install", "passed", True, True, 0, 1.5),
        (2, "build", "failed", False, False, 2, 0.5),
        (3, "test", "skipped", True, False, None, 0.0),
    ]
    (kept,) = query("SELECT labels, CAST(result AS TEXT) AS result FROM revalid_jobs")
    assert "shop" in str(kept.labels)
    assert "a\ufffdb" in kept.result or "a\\ufffdb" in kept.result


def test_a_job_that_never_ran_is_included(client: Client, archive: Archive, query: Query) -> None:
    job = make_job()
    ledger = Ledger(client._redis)
    ledger.submit(job, "q")
    ledger.cancel(job.id)
    list(copy_finished(client, archive))
    (row,) = query("SELECT id, verdict, project, strategy, image, started_at FROM revalid_jobs")
    assert tuple(row) == (job.id, "cancelled", f"sha256:{DIGEST}", "auto", job.image, None)


def test_each_run_of_a_job_is_a_row(client: Client, archive: Archive, query: Query) -> None:
    job = make_job()
    for verdict in (Verdict.ERRORED, Verdict.PASSED):
        run(client, job, StepResult(name="a"), verdict=verdict)
        assert list(copy_finished(client, archive)) == [1]
    assert [each.verdict for each in query("SELECT * FROM revalid_jobs ORDER BY finished_at")] == [
        "errored",
        "passed",
    ]
    assert len(query("SELECT * FROM revalid_steps")) == 2


def test_a_job_that_runs_again_or_is_missing_does_not_block_the_rest(
    client: Client, archive: Archive, query: Query
) -> None:
    again, gone, last = (make_job(nonce=nonce) for nonce in "abc")
    run(client, again, verdict=Verdict.ERRORED)
    run(client, gone)
    run(client, last)
    Ledger(client._redis).submit(again, "q")
    client._redis.delete(job_key(gone.id))
    assert list(copy_finished(client, archive)) == [1]
    Ledger(client._redis).cancel(again.id)
    assert list(copy_finished(client, archive)) == [1]
    assert {row.id: row.verdict for row in query("SELECT * FROM revalid_jobs")} == {
        last.id: "passed",
        again.id: "cancelled",
    }


def test_read_again_from_the_start_nothing_is_added_twice(
    client: Client, archive: Archive, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copier, "AT_ONCE", 2)
    ids = run_many(client, 5)
    assert list(copy_finished(client, archive)) == [2, 2, 1]
    query("DELETE FROM revalid_archive WHERE name = 'last'")
    assert list(copy_finished(client, archive)) == [0, 0, 0]
    assert list(copy_finished(client, archive)) == []
    client._redis.delete(FINISHED_KEY)  # as by a Redis that lost its data
    ids |= {(job := make_job(nonce="new")).id}
    run(client, job)
    assert list(copy_finished(client, archive)) == [1]
    assert {row.id for row in query("SELECT id FROM revalid_jobs")} == ids


@pytest.mark.timeout(180)
def test_killed_in_the_middle_and_run_again_nothing_is_lost_or_doubled(
    client: Client, archive_url: str, query: Query
) -> None:
    ids = run_many(client, 1_000)
    for inserts, reached in ((62, 200), (63, 400), (64, 600)):
        command = [sys.executable, "-c", KILLED, client.url, archive_url, str(inserts)]
        assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
        assert len(query("SELECT id FROM revalid_jobs")) == reached
    archive = Archive(SecretStr(archive_url))
    assert sum(copy_finished(client, archive)) == 400
    archive.close()
    found = [row.id for row in query("SELECT id FROM revalid_jobs")]
    assert (set(found), len(found)) == (ids, 1_000)
    steps = query("SELECT job_id, number FROM revalid_steps")
    assert {(row.job_id, row.number) for row in steps} == {(i, n) for i in ids for n in (1, 2)}
    assert len(steps) == 2_000


def test_a_failed_operation_leaves_nothing_half_done(
    client: Client, archive: Archive, query: Query
) -> None:
    run(client, make_job(), StepResult(name="a"))
    query("ALTER TABLE revalid_steps RENAME TO away")
    with pytest.raises(ArchiveUnavailable):
        list(copy_finished(client, archive))
    assert query("SELECT id FROM revalid_jobs") == []
    query("ALTER TABLE away RENAME TO revalid_steps")
    assert list(copy_finished(client, archive)) == [1]


def test_a_result_of_a_later_version_is_not_skipped(
    client: Client, archive: Archive, query: Query
) -> None:
    run(client, job := make_job())
    client._redis.hset(job_key(job.id), "result", '{"schema_version": 2}')
    with pytest.raises(InvalidJob, match="upgrade this one"):
        list(copy_finished(client, archive))
    assert archive.last() is None


@pytest.mark.parametrize(
    "archive_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_the_questions_of_the_documentation_have_answers(
    client: Client, archive: Archive, query: Query
) -> None:
    for number, code in enumerate([0, 0, 0, 1]):
        step = StepResult(name="test", exit_code=code, duration_s=number)
        verdict = Verdict.FAILED if code else Verdict.PASSED
        run(client, make_job(nonce=str(number)), step, verdict=verdict)
    run(client, make_job(image="other"), StepResult(name="lint", exit_code=0))
    list(copy_finished(client, archive))
    page = (Path(__file__).parents[3] / "docs/operating.md").read_text()
    rate, slowest, flaky = map(query, re.findall(r"```sql\n(.*?)```", page, re.DOTALL))
    assert (sum(day.jobs for day in rate), rate[0].passed_percent) == (5, 80)
    assert [(step.name, step.runs, step.median_s) for step in slowest] == [
        ("test", 4, 1.5),
        ("lint", 1, 0),
    ]
    assert [(each.step, each.runs, each.failed) for each in flaky] == [("test", 4, 1)]
