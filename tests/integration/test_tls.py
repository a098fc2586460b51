"""``rediss://``: clients and workers use TLS, and trust only what the URL names."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from redis import ConnectionError as RedisConnectionError

from revalid.jobs.connection import broker_errors, connect, connect_async
from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.queue import make_app
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.async_client import AsyncClient
from revalid.producer.client import Client
from tests.integration.conftest import StartWorker, eventually
from tests.integration.flower import flower
from tests.integration.tls import make_certificate, tls_front

UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
WORDS = rf"has an untrusted certificate \(.*{UNTRUSTED}.*\?ssl_ca_certs="


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of three self-signed certificates, one of them for another host."""
    directory = tmp_path_factory.mktemp("certificates")
    make_certificate(directory, "ours")
    make_certificate(directory, "stranger")
    make_certificate(directory, "elsewhere", host="DNS:redis.example.net")
    return directory


@pytest.fixture
def front(request: pytest.FixtureRequest, certificates: Path, valkey_url: str) -> Iterator[str]:
    """Yield the URL without its query of a broker with the certificate that ``request`` names."""
    name = getattr(request, "param", "ours")
    socket = valkey_url.removeprefix("unix://").partition("?")[0]
    with tls_front(certificates / name, socket) as port:
        yield f"rediss://127.0.0.1:{port}/0"


def test_jobs_go_through(
    front: str, certificates: Path, start_worker: StartWorker, tmp_path: Path
) -> None:
    url = f"{front}?ssl_ca_certs={certificates / 'ours'}.pem"
    start_worker(REVALID_BROKER_URL=url, REVALID_SANDBOX="local")
    settings = load_settings({}, env_file=None, broker_url=url)
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").touch()
    with Client(settings) as client:
        handle = client.submit(project, commands=["echo hello"], sandbox="local")
        assert [event.type for event in handle.events()][-1] == "finished"
        assert handle.result(30).verdict is Verdict.PASSED

    async def follow() -> Verdict:
        async with AsyncClient(settings) as client:
            job = await client.submit(project, commands=["echo other"], sandbox="local")
            assert [event.type async for event in job.events()][-1] == "finished"
            return (await job.result(30)).verdict

    assert asyncio.run(follow()) is Verdict.PASSED


def test_flower_counts_waiting_jobs(front: str, certificates: Path, tmp_path: Path) -> None:
    url = f"{front}?ssl_ca_certs={certificates / 'ours'}.pem"
    with flower(url, tmp_path / "flower.log") as page:
        eventually(lambda: "revalid.interactive" in page("/api/queues/length"))


@pytest.mark.parametrize(
    ("front", "trusted"),
    [("ours", "stranger"), ("ours", None), ("elsewhere", "elsewhere")],
    indirect=["front"],
    ids=["another authority", "only public authorities", "another host"],
)
async def test_an_untrusted_certificate_is_refused_by_every_client(
    front: str, certificates: Path, trusted: str | None
) -> None:
    url = f"{front}?ssl_ca_certs={certificates / trusted}.pem" if trusted else front
    settings = load_settings({}, env_file=None, broker_url=url)
    with pytest.raises(BrokerUnavailable, match=WORDS), broker_errors(url), connect(url) as client:
        client.ping()
    with pytest.raises(BrokerUnavailable, match=WORDS), broker_errors(url):
        async with connect_async(url) as asynchronous:
            await asynchronous.ping()
    with make_app(settings, url) as app:
        with (
            app.connection_for_read() as connection,
            pytest.raises(OperationalError, match=UNTRUSTED),
        ):
            connection.ensure_connection(max_retries=1, interval_start=0)
        backend: Any = app.backend
        with pytest.raises(RedisConnectionError, match=UNTRUSTED):
            backend.client.ping()


def test_the_url_can_turn_off_certificate_checks(front: str) -> None:
    url = f"{front}?ssl_cert_reqs=none"
    with connect(url) as client:
        assert client.ping()
    with (
        make_app(load_settings({}, env_file=None, broker_url=url), url) as app,
        app.connection_for_read() as connection,
    ):
        connection.ensure_connection(max_retries=1)
