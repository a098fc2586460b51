"""``revalid archive`` as a process."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from revalid.producer.client import Client
from tests.jobs.samples import make_job
from tests.producer.archive.databases import Query, run, run_many
from tests.producer.cli.conftest import Revalid, Until


@pytest.fixture
def archiving(revalid: Revalid, client: Client, archive_url: str) -> Revalid:
    """The command, with broker and archive."""
    urls = {"REVALID_BROKER_URL": client.url, "REVALID_ARCHIVE_URL": archive_url}
    return replace(revalid, environ={**revalid.environ, **urls})


def test_once_copies_the_finished_jobs(archiving: Revalid, client: Client, query: Query) -> None:
    run_many(client, 3)
    assert archiving("archive", "--once").out == "3 jobs archived\n"
    assert archiving("archive", "--once").out == "0 jobs archived\n"
    assert len(query("SELECT id FROM revalid_jobs")) == 3


def test_it_follows_until_it_is_told_to_end(
    archiving: Revalid, client: Client, query: Query, until: Until
) -> None:
    process = archiving.start("archive")
    assert process.stdout is not None
    assert "Ctrl-C ends it" in process.stdout.readline()
    for number in (1, 2):
        run(client, make_job(nonce=str(number)))
        until(lambda number=number: len(query("SELECT id FROM revalid_jobs")) == number)  # type: ignore[misc]
    until((archiving.home / "archived").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.slow
def test_it_outlives_its_database(
    archiving: Revalid, client: Client, query: Query, until: Until
) -> None:
    process = archiving.start("archive")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    query("ALTER TABLE revalid_jobs RENAME TO away")
    run(client, make_job())
    assert "repair the database" in process.stderr.readline()
    query("ALTER TABLE away RENAME TO revalid_jobs")
    until(lambda: len(query("SELECT id FROM revalid_jobs")) == 1)


def test_it_names_the_setting_and_hides_the_password(revalid: Revalid, client: Client) -> None:
    missing = revalid("archive", "--once", REVALID_BROKER_URL=client.url)
    assert (missing.status, "REVALID_ARCHIVE_URL is not set" in missing.error) == (2, True)
    url = "postgresql+psycopg://ada:hunter2@127.0.0.1:1/name"
    refused = revalid("archive", REVALID_BROKER_URL=client.url, REVALID_ARCHIVE_URL=url)
    assert refused.status == 3
    assert "127.0.0.1:1/name" in refused.error
    assert "hunter2" not in refused.out + refused.err


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    main = "from revalid.producer.cli import main; main()"
    command = f"import sys; sys.modules['sqlalchemy'] = None; {main}"
    ran = subprocess.run(
        [sys.executable, "-c", command, "archive", "--once"],
        env={**os.environ, "REVALID_HOME": str(tmp_path), "REVALID_ARCHIVE_URL": "sqlite://"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "sqlalchemy is not installed: pip install 'revalid[archive]'" in ran.stderr
