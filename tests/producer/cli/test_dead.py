"""``dead``: lists, shows, retries and purges dead jobs."""

import re
from pathlib import Path

import pytest

from revalid.jobs.connection import connect
from revalid.jobs.ledger.ledger import Ledger
from tests.producer.cli.conftest import Ran, Revalid

DONE = ("--sandbox", "local", "--command", "true")


class Dead:
    """Commands on a broker of the test's own."""

    def __init__(self, revalid: Revalid, url: str) -> None:
        self._revalid = revalid
        self._url = url

    def __call__(self, *words: str | Path) -> Ran:
        return self._revalid(*words, REVALID_BROKER_URL=self._url)

    def kill(self, project: Path, *options: str) -> str:
        """Submit a job, and have it end three workers."""
        job_id = self("submit", project, *DONE, *options).out.strip()
        with connect(self._url) as redis:
            ledger = Ledger(redis)
            for _ in range(3):
                assert ledger.claim(job_id, "host:1")
                ledger.abandon("host:1")
        return job_id


@pytest.fixture
def dead(revalid: Revalid, valkey_url: str) -> Dead:
    return Dead(revalid, valkey_url)


def test_nobody_is_dead(dead: Dead) -> None:
    assert (dead("dead", "list").status, dead("dead", "list").err) == (0, "no job is dead\n")
    assert dead("dead", "list", "--json").json == []


def test_a_dead_job_is_listed_shown_and_run_again(dead: Dead, project: Path) -> None:
    job_id = dead.kill(project, "--label", "app=shop")
    assert re.fullmatch(
        rf"{job_id}  \S+  last on host:1  default command app=shop\n", dead("dead", "list").out
    )
    shown = dead("dead", "show", job_id)
    assert "the job ended its worker 3 times, last host:1" in shown.out
    assert shown.out.count("started  worker=host:1") == 3
    found = dead("dead", "show", job_id, "--json").json
    assert (found["id"], found["attempts"], found["labels"]) == (job_id, 3, {"app": "shop"})
    result = dead("result", job_id)
    assert result.status == 3
    assert "errored" in result.out
    assert dead("dead", "retry", job_id).out == f"job {job_id}: queued again\n"
    assert dead("status", job_id, "--json").json["state"] == "queued"
    assert dead("dead", "list", "--json").json == []


def test_dead_jobs_are_purged(dead: Dead, project: Path) -> None:
    ids = [dead.kill(project, "--label", "a=1"), dead.kill(project, "--timeout", "5")]
    assert dead("dead", "purge", ids[0]).out == f"job {ids[0]}: deleted\n"
    assert dead("dead", "purge", "--all", "--json").json == [ids[1]]
    gone = dead("result", ids[0])
    assert (gone.status, "no such job" in gone.error) == (2, True)


@pytest.mark.parametrize("command", ["show", "retry", "purge"])
def test_a_job_that_is_not_dead_is_reported(dead: Dead, command: str) -> None:
    ran = dead("dead", command, "0" * 32)
    assert ran.status == 2
    assert "dead list" in ran.error


@pytest.mark.parametrize("words", [(), ("--all", "0" * 32)])
def test_job_ids_are_required(dead: Dead, words: tuple[str, ...]) -> None:
    ran = dead("dead", "purge", *words)
    assert (ran.status, ran.error) == (2, "give the ids of dead jobs, or --all")
