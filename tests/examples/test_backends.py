"""Both web examples: the same four endpoints, over HTTP, with a real broker and worker."""

import io
import json
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest

from tests.examples.conftest import Serve

VALIDATIONS = "/validations"


class Sent(NamedTuple):
    """An event as the stream spells it."""

    id: str
    type: str
    data: dict[str, Any]


def tarball(name: str = "token.txt", files: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """A project that no earlier test had, so that nothing is joined or reused."""
    contents = {name: uuid.uuid4().bytes} | {name: text.encode() for name, text in files.items()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path, content in contents.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def post(backend: httpx.Client, project: bytes, **fields: str | list[str]) -> httpx.Response:
    return backend.post(VALIDATIONS, files={"project": project}, data=fields)


def submit(backend: httpx.Client, command: str) -> str:
    answer = post(backend, tarball(), commands=[command], labels=["team=web", "run"])
    assert answer.status_code == 202, answer.text
    assert answer.json()["url"] == f"{VALIDATIONS}/{answer.json()['id']}"
    return str(answer.json()["url"])


def follow(backend: httpx.Client, url: str, after: str | None = None) -> Iterator[Sent]:
    headers = {"Last-Event-ID": after} if after else {}
    with backend.stream("GET", f"{url}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield Sent(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}


def test_a_job_is_followed_to_its_verdict(backend: httpx.Client) -> None:
    url = submit(backend, "echo hi")
    events = list(follow(backend, url))
    types = [event.type for event in events]
    assert types[:2] == ["queued", "started"]
    assert types[-1] == "finished"
    assert events[-1].data == {"verdict": "passed"}
    assert "".join(event.data["text"] for event in events if event.type == "output") == "hi\n"
    found = backend.get(url).json()
    assert found["state"] == "done"
    assert found["result"]["verdict"] == "passed"
    assert found["result"]["labels"] == {"team": "web", "run": ""}
    assert [step["stdout"] for step in found["result"]["steps"]] == ["hi\n"]


def test_a_stream_resumes_after_the_last_event_seen(backend: httpx.Client) -> None:
    url = submit(backend, "echo hi")
    events = list(follow(backend, url))
    assert list(follow(backend, url, after=events[2].id)) == events[3:]
    assert list(follow(backend, url, after=events[-1].id)) == []


def test_a_stream_arrives_while_the_job_runs_and_the_job_can_be_cancelled(
    backend: httpx.Client,
) -> None:
    url = submit(backend, "sleep 60")
    for event in follow(backend, url):
        if event.type == "step_started":
            assert backend.get(url).json() == {
                "id": url.rpartition("/")[2],
                "state": "running",
                "result": None,
            }
            answer = backend.delete(url)
            assert answer.status_code == 202
            assert answer.json() == {"state": "running"}
    assert event.data == {"verdict": "cancelled"}
    assert backend.get(url).json()["result"]["verdict"] == "cancelled"
    assert backend.delete(url).json() == {"state": "done"}


@pytest.mark.parametrize(
    ("project", "fields", "line"),
    [
        (tarball("../token.txt"), {}, "'../token.txt' lies outside the project"),
        (b"no tarball", {}, "the archive cannot be read"),
        (tarball(), {"strategy": "guess"}, "strategy: 'guess' is none of auto"),
        (tarball(), {"strategy": "npm", "commands": ["ls"]}, "makes its own steps"),
    ],
)
def test_a_bad_project_or_job_is_refused_with_its_line(
    backend: httpx.Client, project: bytes, fields: dict[str, str | list[str]], line: str
) -> None:
    answer = post(backend, project, **fields)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert line in detail
    assert "\n" not in detail


def test_a_request_may_be_repeated_with_its_key(backend: httpx.Client) -> None:
    def send(key: str, project: bytes, command: str) -> httpx.Response:
        return backend.post(
            VALIDATIONS,
            files={"project": project},
            data={"commands": [command]},
            headers={"Idempotency-Key": key},
        )

    key, project = uuid.uuid4().hex, tarball()
    first = send(key, project, "sleep 60")
    assert first.status_code == 202
    backend.delete(first.json()["url"])
    assert [event.data for event in follow(backend, first.json()["url"])][-1] == {
        "verdict": "cancelled"
    }
    again = send(key, project, "sleep 60")  # without the key it would run once more
    assert (again.status_code, again.json()) == (202, first.json())
    assert backend.get(first.json()["url"]).json()["state"] == "done"
    other = send(key, project, "echo other")
    assert other.status_code == 422
    assert "it was used for another request" in other.json()["detail"]
    assert send("k" * 256, project, "ls").status_code == 422


def test_no_project_is_refused(backend: httpx.Client) -> None:
    answer = backend.post(VALIDATIONS, data={"commands": "ls"})
    assert answer.status_code == 422
    assert "project: " in answer.json()["detail"]


def test_an_upload_that_is_too_large_is_refused(backend: httpx.Client) -> None:
    assert post(backend, bytes(64 * 2**20 + 1)).status_code == 413


def test_an_unknown_id_is_not_found(backend: httpx.Client) -> None:
    url = f"{VALIDATIONS}/{'0' * 32}"
    answers = [backend.get(url), backend.get(f"{url}/events"), backend.delete(url)]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert all("no such job" in answer.json()["detail"] for answer in answers)


def test_an_invalid_event_id_is_refused(backend: httpx.Client) -> None:
    url = submit(backend, "echo hi")
    answer = backend.get(f"{url}/events", headers={"Last-Event-ID": "$"})
    assert answer.status_code == 422


def test_a_full_queue_says_when_to_retry(serve: Serve, valkey_url: str) -> None:
    with serve(valkey_url, REVALID_QUEUED_JOBS="1") as client:
        taken, refused = (post(client, tarball(), commands=["ls"]) for _ in range(2))
    assert taken.status_code == 202
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "too many validations are queued" in refused.json()["detail"]


def test_a_tenant_whose_projects_fill_redis_is_told_when_to_retry(
    serve: Serve, valkey_url: str
) -> None:
    most = len(tarball()) * 3 // 2  # room for one
    with serve(valkey_url, REVALID_TENANT_BLOB_BYTES=str(most)) as client:
        answers = [post(client, tarball(name), commands=["ls"]) for name in ("a", "b")]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert int(answers[1].headers["Retry-After"]) > 0


def test_an_unavailable_broker_is_not_the_callers_fault(serve: Serve, tmp_path: Path) -> None:
    with serve(f"unix://{tmp_path}/broker.sock?db=0") as client:
        answers = [post(client, tarball(), commands=["ls"]), client.get(f"{VALIDATIONS}/any")]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert "broker.sock" not in answer.text
