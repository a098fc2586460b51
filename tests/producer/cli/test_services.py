"""``broker``, ``worker`` and ``flower`` as processes that live longer than a job."""

import json
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.producer.cli.conftest import LOCAL, Revalid, Until, commands


def code_of(url: str, auth: tuple[str, str] | None = None) -> int | None:
    """Return the status of a page; None if no server answers yet."""
    try:
        return httpx.get(url, auth=auth, timeout=10, trust_env=False).status_code
    except httpx.TransportError:
        return None


def page_of(url: str) -> str:
    """A page's words."""
    return httpx.get(url, timeout=10, trust_env=False).text


@pytest.fixture
def port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_the_broker_starts_for_good_and_stops(revalid: Revalid) -> None:
    before = revalid("broker", "status", "--json").json
    assert (before["running"], before["pid"], before["pinned"]) == (False, None, False)
    assert not revalid.home.exists()
    started = revalid("broker", "start")
    assert started.status == 0
    assert "revalid broker stop" in started.err
    url = started.out.strip()
    with redis.Redis.from_url(url) as client:
        client.set("kept", "1")
    during = revalid("broker", "status", "--json").json
    assert (during["running"], during["pinned"], during["url"]) == (True, True, url)
    assert during["data_dir"].startswith(str(revalid.home))
    assert "running, until `revalid broker stop`" in revalid("broker", "status").out
    assert revalid("broker", "start").out == started.out
    assert revalid("broker", "stop").out == "stopped\n"
    assert revalid("broker", "stop").out == "it did not run\n"
    assert "not running" in revalid("broker", "status").out
    revalid("broker", "start")
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"1"
    revalid("broker", "stop")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_ends_when_it_is_told_to(
    revalid: Revalid, until: Until, number: signal.Signals
) -> None:
    worker = revalid.start("worker", "--concurrency", "1")
    assert worker.stderr is not None
    lines = iter(worker.stderr.readline, "")
    assert any("ready" in line for line in lines)
    worker.send_signal(number)
    worker.communicate(timeout=60)
    assert worker.returncode == 0
    until(lambda: not revalid.left())


def test_a_worker_whose_parent_was_killed_ends(revalid: Revalid, until: Until) -> None:
    worker = revalid.start("worker", "--concurrency", "1")
    assert worker.stderr is not None
    assert any("ready" in line for line in iter(worker.stderr.readline, ""))
    worker.kill()
    until(lambda: not revalid.left())


def test_flower_is_loopback_and_read_only_by_default(revalid: Revalid, until: Until) -> None:
    flower = revalid.start("flower", REVALID_FLOWER_PORT="0")
    assert flower.stdout is not None
    shown = flower.stdout.readline()
    (url,) = re.findall(r"read only, on (http://127\.0\.0\.1:\d+); Ctrl-C ends it", shown)

    until(lambda: code_of(url) == 200)
    refused = httpx.post(f"{url}/api/worker/shutdown/x", timeout=10, trust_env=False)
    assert refused.status_code in (401, 403, 405)
    flower.send_signal(signal.SIGTERM)
    flower.communicate(timeout=60)
    until(lambda: not revalid.left())


def test_flower_asks_for_the_password_which_no_argument_list_shows(
    revalid: Revalid, until: Until
) -> None:
    flower = revalid.start("flower", REVALID_FLOWER_PORT="0", REVALID_FLOWER_AUTH="ada:hunter2")
    assert flower.stdout is not None
    (port,) = re.findall(r":(\d+);", flower.stdout.readline())
    url = f"http://127.0.0.1:{port}"
    until(lambda: code_of(url) == 401)
    assert code_of(url, ("ada", "hunter2")) == 200
    assert not any("hunter2" in word for found in revalid.left() for word in found.cmdline())
    flower.send_signal(signal.SIGINT)
    flower.communicate(timeout=60)


@pytest.mark.slow
def test_flower_remembers_tasks_across_restarts_in_a_private_file(
    revalid: Revalid, until: Until, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").touch()

    def start() -> tuple["subprocess.Popen[str]", str]:
        flower = revalid.start("flower", REVALID_FLOWER_PORT="0")
        assert flower.stdout is not None
        (port,) = re.findall(r":(\d+);", flower.stdout.readline())
        until(lambda: code_of(f"http://127.0.0.1:{port}") == 200)
        return flower, f"http://127.0.0.1:{port}"

    first, url = start()
    revalid.start("worker", "--concurrency", "1", REVALID_SANDBOX="local")
    until(lambda: "revalid-" in page_of(f"{url}/workers"))  # it hears events
    ran = revalid("run", project, "--command", "true", "--json", REVALID_SANDBOX="local")
    job_id = ran.json["id"]
    until(lambda: "SUCCESS" in page_of(f"{url}/task/{job_id}"))
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    second, url = start()
    assert "SUCCESS" in page_of(f"{url}/task/{job_id}")
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=60)
    directory = revalid.home / "flower"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


def test_a_port_that_is_taken_is_named(revalid: Revalid, port: int) -> None:
    ran = revalid("flower", REVALID_FLOWER_PORT=str(port))
    assert ran.status == 2
    assert f"REVALID_FLOWER_PORT {port}: Address already in use" in ran.error


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:{port}", "127.0.0.1:99999", "no.such.host.invalid:0"]
)
def test_an_address_that_metrics_cannot_have_is_named(
    revalid: Revalid, port: int, listen: str
) -> None:
    listen = listen.format(port=port)
    ran = revalid("metrics", REVALID_METRICS_LISTEN=listen)
    assert ran.status == 2
    assert f"REVALID_METRICS_LISTEN {listen}: " in ran.error


def test_doctor_names_each_part_and_its_fix(revalid: Revalid) -> None:
    ran = revalid("doctor", REVALID_SANDBOX="local")
    assert ran.status == 0
    assert re.search(r"(?m)^✓ broker +valkey [\d.]+, embedded$", ran.out)
    assert re.search(
        r"(?m)^✓ workers +no worker is running: `revalid run` starts its own$", ran.out
    )
    assert re.search(r"(?m)^✓ queue +empty$", ran.out)
    assert re.search(r"(?m)^✓ engine +not used: REVALID_SANDBOX is local$", ran.out)
    assert re.search(r"(?m)^[✓!] disk +.* GiB free in ", ran.out)
    assert re.search(r"(?m)^[✓!] versions +python 3\..*, dagger-io 0\.", ran.out)


def test_a_worker_does_not_start_with_a_wrong_table_of_images(revalid: Revalid) -> None:
    ran = revalid("worker", REVALID_IMAGES="/nowhere/images.toml")
    assert ran.status == 2
    assert "error: REVALID_IMAGES /nowhere/images.toml: No such file" in ran.err


def test_doctor_names_the_table_of_images(revalid: Revalid, tmp_path: Path) -> None:
    ran = revalid("doctor", REVALID_SANDBOX="local")
    assert re.search(r"(?m)^✓ images +the built-in table: node 20 22 24 18, python 3", ran.out)
    table = tmp_path / "images.toml"
    table.write_text('[node]\n"22" = "registry.internal/node:22"\n')
    ran = revalid("doctor", REVALID_SANDBOX="local", REVALID_IMAGES=str(table))
    assert re.search(rf"(?m)^✓ images +{table}: node 22, python 3", ran.out)
    table.write_text('[node]\n"22" = "a b"\n')
    ran = revalid("doctor", REVALID_SANDBOX="local", REVALID_IMAGES=str(table))
    assert ran.status == 3
    assert re.search(rf"(?m)^✗ images +REVALID_IMAGES {table}: node 22: 'a b' is not", ran.out)


def test_doctor_for_programs(revalid: Revalid) -> None:
    ran = revalid("doctor", "--json", REVALID_SANDBOX="local", PATH="/nowhere")
    found = ran.json
    assert (ran.status, found["ok"]) == (0, True)
    checks = {check["name"]: check for check in found["checks"]}
    assert {*checks} == {"broker", "workers", "queue", "engine", "images", "disk", "versions"}
    assert (checks["versions"]["state"], found["versions"]["node"]) == ("warn", None)
    assert "install Node.js" in checks["versions"]["fix"]


def test_doctor_names_workers_and_what_waits(
    served: Revalid, project: Path, until: Until, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job = served("submit", project, *LOCAL, *commands(f"until [ -e {gate} ]; do sleep 0.05; done"))
    until(lambda: served("status", job.out.strip(), "--json").json["state"] == "running")
    ran = served("doctor", REVALID_SANDBOX="local")
    gate.touch()
    beat = (
        r"\S+:\d+-[0-9a-f]{8} \(.+, 2 slots, local, (in|without) bubblewrap\), "
        r"last beat \d+\.\d s ago"
    )
    assert re.search(rf"(?m)^✓ workers +{beat}$", ran.out), ran.out
    assert re.search(r"(?m)^✓ queue +interactive: 0 wait, 1 run$", ran.out), ran.out


def test_doctor_and_waiting_commands_say_that_no_worker_is_running(
    revalid: Revalid, project: Path, until: Until
) -> None:
    url = revalid("broker", "start").out.strip()
    try:
        job_id = revalid("submit", project, *LOCAL, *commands("true")).out.strip()
        ran = revalid("doctor", REVALID_BROKER_URL=url, REVALID_SANDBOX="local")
        assert re.search(r"(?m)^! workers +no worker is running\n +fix: start one: ", ran.out)
        assert re.search(r"(?m)^! queue +interactive: 1 wait, the oldest for .*, 0 run$", ran.out)
        said = "no worker is running: `revalid worker` starts one"
        assert said in revalid("logs", job_id).err
        for words in (("result", job_id), ("logs", "--follow", job_id)):
            process = revalid.start(*words)
            assert process.stderr is not None
            assert process.stderr.readline().strip() == said
            process.kill()
    finally:
        revalid("broker", "stop")


def test_doctor_fails_where_broker_and_engine_are_not_reached(revalid: Revalid) -> None:
    ran = revalid(
        "doctor",
        "--json",
        REVALID_BROKER_URL="redis://:hunter2@127.0.0.1:1/0",
        REVALID_CONNECT_TIMEOUT_S="1",
        _EXPERIMENTAL_DAGGER_RUNNER_HOST="tcp://127.0.0.1:1",
    )
    assert (ran.status, ran.json["ok"]) == (3, False)
    states = {check["name"]: check["state"] for check in ran.json["checks"]}
    assert (states["broker"], states["engine"], states["image"]) == ("fail", "fail", "fail")
    fixes = {check["name"]: check["fix"] for check in ran.json["checks"]}
    assert "REVALID_BROKER_URL" in fixes["broker"]
    assert "start a Dagger engine" in fixes["engine"]
    assert "hunter2" not in ran.out


def test_doctor_warns_where_auto_would_fall_back(revalid: Revalid) -> None:
    ran = revalid(
        "doctor",
        "--json",
        REVALID_CONNECT_TIMEOUT_S="1",
        _EXPERIMENTAL_DAGGER_RUNNER_HOST="tcp://127.0.0.1:1",
    )
    assert ran.status == 0
    states = {check["name"]: check["state"] for check in ran.json["checks"]}
    assert (states["broker"], states["engine"]) == ("ok", "warn")
    told = next(check for check in ran.json["checks"] if check["name"] == "engine")
    assert "start a Dagger engine" not in told["detail"]
    assert "start a Dagger engine" in told["fix"]


def test_doctor_warns_of_a_broker_that_forgets(revalid: Revalid, tmp_path: Path) -> None:
    url = revalid("broker", "start").out.strip()
    try:
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        ran = revalid("doctor", "--json", REVALID_BROKER_URL=url, REVALID_SANDBOX="local")
        (check,) = (check for check in ran.json["checks"] if check["name"] == "broker")
        assert (check["state"], "noeviction" in check["fix"]) == ("warn", True)
    finally:
        revalid("broker", "stop")
    assert json.loads(ran.out)["ok"] is True
