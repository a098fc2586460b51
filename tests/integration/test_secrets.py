"""No secret value is anywhere but in the sandbox: broker, Flower, logs and results are searched."""

import ast
import base64
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from revalid.jobs.job import SandboxPolicy
from revalid.producer.client import Client
from tests.integration.conftest import StartWorker, eventually

VALUES = {
    "DATABRICKS_HOST": "https://adb-4711.example.net",
    "DATABRICKS_TOKEN": "dapi0123456789abcdef/+x",
    "DATABRICKS_WAREHOUSE_ID": "wh-8badf00d",
}
AUTH = "viewer:flower-password"


def forms(value: str) -> set[bytes]:
    raw = value.encode()
    return {raw, base64.b64encode(raw).rstrip(b"="), quote(value, safe="").encode()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def flower_api(port: int) -> dict[str, dict[str, str]]:
    user, password = AUTH.split(":")
    answer = httpx.get(f"http://127.0.0.1:{port}/api/tasks", auth=(user, password), timeout=5)
    tasks: dict[str, dict[str, str]] = answer.raise_for_status().json()
    return tasks


@pytest.mark.parametrize("kind", ["local", pytest.param("dagger", marks=pytest.mark.dagger)])
def test_no_value_leaves_the_sandbox(
    client: Client, start_worker: StartWorker, valkey_url: str, tmp_path: Path, kind: SandboxPolicy
) -> None:
    worker = start_worker(**VALUES)
    port = free_port()
    flower_log = tmp_path / "flower.log"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
    stack = ExitStack()
    flower = subprocess.Popen(
        [str(Path(sys.executable).with_name("revalid")), "flower"],
        cwd=tmp_path,
        env={
            **environ,
            "REVALID_BROKER_URL": valkey_url,
            "REVALID_FLOWER_AUTH": AUTH,
            "REVALID_FLOWER_PORT": str(port),
        },
        stdout=stack.enter_context(flower_log.open("wb")),
        stderr=subprocess.STDOUT,
    )
    try:
        eventually(lambda: reachable(port))
        project = tmp_path / "project"
        project.mkdir()
        (project / "file").write_text("x")
        eventually(lambda: is_seen(client, port, project))
        handle = client.submit(
            project,
            commands=[
                'test -n "$DATABRICKS_TOKEN" && env',
                'echo "$DATABRICKS_TOKEN $RENAMED" >&2; printf %s "$DATABRICKS_HOST" | base64',
                'head -c 200000 /dev/zero | tr "\\0" x; echo "$DATABRICKS_TOKEN"; exit 1',
            ],
            secrets={"RENAMED": "env://DATABRICKS_TOKEN"},
            sandbox=kind,
        )
        result = handle.result(60)
        assert [step.exit_code for step in result.steps] == [0, 0, 1]
        assert result.steps[1].stderr.split() == ["***", "***"]
        eventually(lambda: flower_api(port).get(handle.id, {}).get("state") == "FAILURE")
        task = flower_api(port)[handle.id]
        assert task["name"] == "revalid.validate"
        kwargs = ast.literal_eval(task["kwargs"])
        assert (kwargs["project"], kwargs["tenant"]) == ("project", "default")
        places = {
            "result": result.model_dump_json().encode(),
            "flower": json.dumps(task).encode(),
            "flower log": flower_log.read_bytes(),
            "worker log": worker.log.read_bytes(),
            **{f"key {key}": dumped(client, key) for key in map(str, client._redis.keys("*"))},
        }
        assert len(places) > 6
        for value in VALUES.values():
            for form in forms(value):
                assert [name for name, content in places.items() if form in content] == []
    finally:
        flower.terminate()
        flower.wait(20)
        stack.close()


def is_seen(client: Client, port: int, project: Path) -> bool:
    """Return whether Flower shows a new job by name: it starts before it receives events."""
    handle = client.submit(project, commands=["true"], sandbox="local", fresh=True)
    handle.result(30)
    return flower_api(port).get(handle.id, {}).get("name") == "revalid.validate"


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def dumped(client: Client, key: str) -> bytes:
    """Everything that a key holds, as text."""
    redis = client._raw
    match client._redis.type(key):
        case "string":
            content: object = redis.get(key)
        case "hash":
            content = redis.hgetall(key)
        case "list":
            content = redis.lrange(key, 0, -1)
        case "set":
            content = redis.smembers(key)
        case "zset":
            content = redis.zrange(key, 0, -1)
        case "stream":
            content = redis.xrange(key)
        case _:
            raise AssertionError(f"{key}: of a type that is not searched")
    return repr(content).encode()
