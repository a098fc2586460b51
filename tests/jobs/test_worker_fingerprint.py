"""Fingerprints: equal for workers that would treat a job alike, different otherwise."""

import re
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from revalid.jobs import worker_fingerprint as module
from revalid.jobs.ledger.keys import worker_key
from revalid.jobs.ledger.record import SERVING_S
from revalid.jobs.settings import Settings, load_settings
from revalid.jobs.worker_fingerprint import fingerprint, is_served

ENVIRON = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/a",
    "DATABRICKS_TOKEN": "dapi-very-secret",
    "_EXPERIMENTAL_DAGGER_RUNNER_HOST": "unix:///run/dagger.sock",
}


HOME = f"{__file__}/home"  # nobody can write there, so that the key is this process's own


def settings(**fields: Any) -> Settings:
    defaults = {"home": HOME, "embedded": True, "concurrency": 1}
    return load_settings({}, env_file=None, **(defaults | fields))


PRINT = fingerprint(settings(), ENVIRON)


def test_equal_workers_have_equal_fingerprints() -> None:
    assert fingerprint(settings(), dict(reversed(ENVIRON.items()))) == PRINT


def test_a_fingerprint_is_a_digest_without_values() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", PRINT)
    assert worker_key(PRINT) == f"revalid:worker:{PRINT}"


@pytest.mark.parametrize(
    "environ",
    [
        {"PATH": "/usr/local/bin"},
        {"_EXPERIMENTAL_DAGGER_RUNNER_HOST": "tcp://engine:1234"},
        {"DAGGER_CLOUD_TOKEN": "x"},
        {"DOCKER_HOST": "tcp://docker:2375"},
        {"DATABRICKS_TOKEN": "dapi-other"},
        {"DATABRICKS_HOST": "https://x"},
        {"HTTPS_PROXY": "http://proxy:3128"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_the_fingerprint_changes_with_what_a_job_may_see(environ: dict[str, str]) -> None:
    assert fingerprint(settings(), ENVIRON | environ) != PRINT


def test_the_fingerprint_changes_when_a_secret_goes() -> None:
    without = {name: value for name, value in ENVIRON.items() if name != "DATABRICKS_TOKEN"}
    assert fingerprint(settings(), without) != PRINT


@pytest.mark.parametrize("environ", [{"HOME": "/home/b"}, {"LANG": "C"}, {"API_KEY": "x"}], ids=str)
def test_the_fingerprint_does_not_change_with_what_no_job_sees(environ: dict[str, str]) -> None:
    assert fingerprint(settings(), ENVIRON | environ) == PRINT


@pytest.mark.parametrize(
    "fields",
    [
        {"home": "/srv/other"},
        {"broker_url": "redis://other"},
        {"blob_url": "file:///srv/blobs"},
        {"blob_redis_bytes": 1},
        {"sandbox": "local"},
        {"bubblewrap": False},
        {"source_roots": "/srv"},
        {"secret_allow": "API_KEY"},
        {"secret_files": "/run/secrets"},
        {"forward_env": "CI"},
        {"local_env": "CI"},
        {"project_bytes": 1},
        {"project_files": 1},
        {"connect_timeout_s": 1},
        {"embedded": False},
        {"instance": "a"},
        {"signing_key": "a"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_the_fingerprint_changes_with_a_setting_of_the_worker(fields: dict[str, Any]) -> None:
    assert fingerprint(settings(**fields), ENVIRON) != PRINT


@pytest.mark.parametrize(
    "fields",
    [{"image": "node:22"}, {"tenant": "acme"}, {"concurrency": 2}, {"flower_port": 1}],
    ids=lambda fields: next(iter(fields)),
)
def test_the_fingerprint_does_not_change_with_other_settings(fields: dict[str, Any]) -> None:
    assert fingerprint(settings(**fields), ENVIRON) == PRINT


def test_the_fingerprint_changes_with_a_newly_allowed_variable() -> None:
    environ = ENVIRON | {"API_KEY": "a"}
    allowing = settings(secret_allow="API_KEY")
    assert fingerprint(allowing, environ) != fingerprint(allowing, environ | {"API_KEY": "b"})


def test_the_fingerprint_changes_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", "999")
    assert fingerprint(settings(), ENVIRON) != PRINT


def test_the_fingerprint_does_not_confirm_a_guessed_secret(tmp_path: Path) -> None:
    """The fingerprint is in a queue's name, which everybody sees; a plain hash could be guessed."""
    at_home = settings(home=tmp_path)
    before = fingerprint(at_home, ENVIRON)
    assert fingerprint(at_home, ENVIRON) == before
    (tmp_path / "home.key").unlink()
    assert fingerprint(at_home, ENVIRON) != before


def test_a_worker_counts_as_running_while_it_reports(redis: Redis) -> None:
    assert not is_served(redis, PRINT)
    redis.set(worker_key(PRINT), 1, ex=int(SERVING_S))
    assert is_served(redis, PRINT)
    redis.expire(worker_key(PRINT), 3_600)  # as if Redis's clock had stepped back
    assert not is_served(redis, PRINT)
