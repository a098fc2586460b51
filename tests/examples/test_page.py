"""The FastAPI example's page in a real browser with its real ``EventSource``."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.backends import free_port, serving
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client
from tests.examples.chromium import CHROMIUM, Page, chromium
from tests.examples.test_backends import tarball

if CHROMIUM is None:
    pytest.skip("NO CHROMIUM: the page is tested in no browser", allow_module_level=True)


STARTED = "document.querySelector('[data-type=step_started]') !== null"


def verdict(words: str) -> str:
    """Return an expression that is true once the page shows this verdict."""
    return f"document.querySelector('#verdict').textContent.includes('{words}')"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    file = tmp_path / "project.tar.gz"
    file.write_bytes(tarball())
    return file


@pytest.fixture
def client(local_worker: str) -> Iterator[Client]:
    with Client(load_settings({"REVALID_BROKER_URL": local_worker}, env_file=None)) as made:
        yield made


def submit(page: Page, project: Path, command: str) -> str:
    """Send the form; return the id of the validation that the page then follows."""
    page.choose("[name=project]", project)
    page.evaluate(f"document.querySelector('[name=commands]').value = {command!r}")
    page.evaluate("document.querySelector('form').requestSubmit()")
    page.until("location.hash !== ''")
    return str(page.evaluate("location.hash.slice(1)"))


def shown(page: Page) -> list[list[str]]:
    """Return id and type of every line, including repeated lines."""
    lines = "[...document.querySelectorAll('#events li')]"
    found: list[list[str]] = page.evaluate(f"{lines}.map((li) => [li.dataset.id, li.dataset.type])")
    return found


def happened(client: Client, job_id: str) -> list[list[str]]:
    return [[event.id, event.type] for event in client.events(job_id)]


def test_a_tarball_is_uploaded_followed_and_judged(
    page: Page, client: Client, project: Path, tmp_path: Path
) -> None:
    port = free_port()
    with serving("fastapi_backend", client.url, tmp_path / "log", port=port):
        page.open(f"http://127.0.0.1:{port}/")
        job_id = submit(page, project, "echo '<b>hi</b>'; exit 3")
        page.until(verdict("failed in"))
        assert shown(page) == happened(client, job_id)
        text = page.evaluate("document.querySelector('#events').innerText")
        assert "<b>hi</b>" in text
        assert "exit 3" in text
        page.evaluate("document.querySelector('#verdict').textContent = ''")  # of the old page
        page.call("Page.reload")
        page.until(verdict("failed in"))
        assert shown(page) == happened(client, job_id)


@pytest.mark.slow
def test_the_first_page_of_a_started_app_is_shown(
    page: Page, client: Client, tmp_path: Path
) -> None:
    server = """require("http").createServer((question, answer) => {
      answer.setHeader("content-type", "text/html"); answer.end("<title>Tasks</title><h1>Tasks")
    }).listen(process.env.PORT)"""
    scripts = {"build": "node -p 1 && test -f server.js", "start": "node server.js"}
    files = {"package.json": json.dumps({"scripts": scripts}), "server.js": server}
    project = tmp_path / "app.tar.gz"
    project.write_bytes(tarball(files=files))
    port = free_port()
    with serving("fastapi_backend", client.url, tmp_path / "log", port=port):
        page.open(f"http://127.0.0.1:{port}/")
        submit(page, project, "")
        page.until(verdict("passed in"))
        page.until("document.querySelector('#pages img').naturalWidth === 320")
        assert page.evaluate("document.querySelector('#pages img').alt") == "start: Tasks"


def test_events_during_an_outage_of_the_server_are_shown_once(
    page: Page, client: Client, project: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    with serving("fastapi_backend", client.url, log, port=port):
        page.open(f"http://127.0.0.1:{port}/")
        job_id = submit(page, project, "sleep 60")
        page.until(STARTED)
    page.until(verdict("connection lost"))
    seen = shown(page)
    client.job(job_id).cancel()
    client.job(job_id).result(30)
    assert shown(page) == seen
    with serving("fastapi_backend", client.url, log, port=port):
        page.until(verdict("cancelled in"))
    assert shown(page)[: len(seen)] == seen
    assert shown(page) == happened(client, job_id)
    assert '"GET /validations' in log.read_text()


def test_a_validation_is_cancelled_by_its_button(
    page: Page, client: Client, project: Path, tmp_path: Path
) -> None:
    port = free_port()
    with serving("fastapi_backend", client.url, tmp_path / "log", port=port):
        page.open(f"http://127.0.0.1:{port}/")
        job_id = submit(page, project, "sleep 60")
        page.until(STARTED)
        page.evaluate("document.querySelector('#cancel').click()")
        page.until(verdict("cancelled in"))
        assert page.evaluate("document.querySelector('#cancel').hidden")
        assert client.job(job_id).result(1).verdict == "cancelled"


def test_the_page_shows_a_refusal(page: Page, client: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    bad.write_bytes(b"no tarball")
    port = free_port()
    with serving("fastapi_backend", client.url, tmp_path / "log", port=port):
        page.open(f"http://127.0.0.1:{port}/")
        page.choose("[name=project]", bad)
        page.evaluate("document.querySelector('form').requestSubmit()")
        page.until(verdict("cannot be read"))
        page.open(f"http://127.0.0.1:{port}/#{'0' * 32}")
        page.until(verdict("no such job"))
