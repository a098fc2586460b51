"""One POST: the addresses that it may reach, and its signature."""

from ipaddress import ip_address
from pathlib import Path

import httpcore
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from revalid.jobs.errors import PolicyRefused
from revalid.worker.webhooks.sender import WebhookSender, is_public, resolve
from tests.integration.tls import make_certificate
from tests.worker.receivers import KEY, receiver

BODY = '{"type": "job.finished"}'


async def post(sender: WebhookSender, url: str) -> int:
    return await sender.post(url, "msg_1", BODY, timeout_s=10)


async def test_the_signature_covers_the_whole_post() -> None:
    with receiver() as server:
        assert await post(WebhookSender(KEY, ["127.0.0.1"]), server.url("/hook?a=b")) == 204
    ((path, headers, body),) = server.calls
    assert (path, body) == ("/hook?a=b", BODY)
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert headers["content-type"] == "application/json"
    secret = Webhook(KEY.get_secret_value())
    assert secret.verify(body, headers) == {"type": "job.finished"}
    for changed, data in (
        ({}, body.replace("finished", "started")),
        ({"webhook-id": "msg_2"}, body),
        ({"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}, body),
    ):
        with pytest.raises(WebhookVerificationError):
            secret.verify(data, headers | changed)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "b3RoZXIh" * 4).verify(body, headers)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_private_address_is_refused_in_every_notation(scheme: str, host: str) -> None:
    with receiver() as server:
        url = server.url(host=host).replace("http", scheme)
        with pytest.raises(PolicyRefused, match=r"127\.0\.0\.1.*REVALID_WEBHOOK_ALLOW"):
            await post(WebhookSender(KEY, []), url)
        with pytest.raises(PolicyRefused):
            await post(WebhookSender(KEY, ["10.0.0.0/8", "example.com", "127.0.0.2"]), url)
    assert server.calls == []


@pytest.mark.parametrize("allow", ["LOCALHOST", "127.0.0.1", "127.0.0.0/8"])
async def test_a_listed_host_is_reached(allow: str) -> None:
    with receiver() as server:
        assert await post(WebhookSender(KEY, [allow]), server.url(host="localhost")) == 204


async def test_http_reaches_no_public_host() -> None:
    sender = WebhookSender(KEY, ["127.0.0.1"], lambda *_: ["93.184.216.34"])
    with pytest.raises(PolicyRefused, match="must list a host of http://"):
        await post(sender, "http://example.com/")


async def test_a_host_is_resolved_once_and_only_checked_addresses_are_reached() -> None:
    resolved_hosts = []

    def rebinding(host: str, port: int) -> list[str]:
        resolved_hosts.append(host)
        return ["127.0.0.1"] if len(resolved_hosts) == 1 else ["127.0.0.2"]

    sender = WebhookSender(KEY, ["127.0.0.1/32"], rebinding)
    with receiver() as server:
        url = server.url(host="rebinding.test")
        assert await post(sender, url) == 204
        assert resolved_hosts == ["rebinding.test"]
        assert server.calls[0][1]["Host"] == f"rebinding.test:{server.port}"
        with pytest.raises(PolicyRefused, match=r"rebinding\.test resolves to 127\.0\.0\.2"):
            await post(sender, url)
    assert len(server.calls) == 1


async def test_refused_addresses_are_never_tried() -> None:
    with receiver() as server, receiver(address="127.0.0.3") as other:
        addresses = ["127.0.0.2", "127.0.0.1"]  # nobody listens at the second's port
        sender = WebhookSender(KEY, ["127.0.0.1"], lambda *_: addresses)
        assert await post(sender, server.url(host="several.test")) == 204
        sender = WebhookSender(
            KEY, ["127.0.0.1", "127.0.0.3"], lambda *_: ["127.0.0.1", "127.0.0.3"]
        )
        assert await post(sender, other.url(host="several.test")) == 204
    assert (len(server.calls), len(other.calls)) == (1, 1)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    with receiver([status]) as server:
        assert await post(WebhookSender(KEY, ["127.0.0.1"]), server.url()) == status
    assert [path for path, _, _ in server.calls] == ["/hook"]


async def test_the_certificate_must_name_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, host in (("right", "DNS:receiver.test"), ("wrong", "DNS:other.test")):
        make_certificate(tmp_path, name, host)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / f"{name}.pem"))
        sender = WebhookSender(KEY, ["127.0.0.1"], lambda *_: ["127.0.0.1"])
        with receiver(certificate=tmp_path / name) as server:
            url = f"https://receiver.test:{server.port}/hook"
            if name == "right":
                assert await post(sender, url) == 204
            else:
                with pytest.raises(httpcore.ConnectError, match="Hostname mismatch"):
                    await post(sender, url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("64:ff9b::7f00:1", False),
        ("fc00::1", False),
        ("fe80::1%1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_the_systems_resolver_knows_this_machine() -> None:
    assert "127.0.0.1" in resolve("localhost", 80)
    with pytest.raises(OSError, match="known"):
        resolve("nowhere.invalid", 80)
