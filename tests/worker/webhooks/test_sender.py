"""One POST: whom it may reach, and how the receiver knows that it is ours."""

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


async def post(poster: WebhookSender, url: str) -> int:
    return await poster.post(url, "msg_1", BODY, timeout_s=10)


async def test_the_receiver_can_tell_that_a_post_is_ours_and_whole() -> None:
    with receiver() as there:
        assert await post(WebhookSender(KEY, ["127.0.0.1"]), there.url("/hook?a=b")) == 204
    ((path, headers, body),) = there.calls
    assert (path, body) == ("/hook?a=b", BODY)
    assert headers["Host"] == f"127.0.0.1:{there.port}"
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
async def test_a_private_address_is_refused_however_it_is_written(scheme: str, host: str) -> None:
    with receiver() as there:
        url = there.url(host=host).replace("http", scheme)
        with pytest.raises(PolicyRefused, match=r"127\.0\.0\.1.*REVALID_WEBHOOK_ALLOW"):
            await post(WebhookSender(KEY, []), url)
        with pytest.raises(PolicyRefused):
            await post(WebhookSender(KEY, ["10.0.0.0/8", "example.com", "127.0.0.2"]), url)
    assert there.calls == []


@pytest.mark.parametrize("allow", ["LOCALHOST", "127.0.0.1", "127.0.0.0/8"])
async def test_what_is_listed_is_reached(allow: str) -> None:
    with receiver() as there:
        assert await post(WebhookSender(KEY, [allow]), there.url(host="localhost")) == 204


async def test_http_reaches_no_public_host() -> None:
    poster = WebhookSender(KEY, ["127.0.0.1"], lambda *_: ["93.184.216.34"])
    with pytest.raises(PolicyRefused, match="which http:// needs"):
        await post(poster, "http://example.com/")


async def test_a_host_is_looked_up_once_and_only_what_was_checked_is_reached() -> None:
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    poster = WebhookSender(KEY, ["127.0.0.1/32"], rebinding)
    with receiver() as there:
        url = there.url(host="rebinding.test")
        assert await post(poster, url) == 204
        assert asked == ["rebinding.test"]
        assert there.calls[0][1]["Host"] == f"rebinding.test:{there.port}"
        with pytest.raises(PolicyRefused, match=r"rebinding\.test is at 127\.0\.0\.2"):
            await post(poster, url)
    assert len(there.calls) == 1


async def test_of_several_addresses_those_that_are_refused_are_never_tried() -> None:
    with receiver() as there, receiver(address="127.0.0.3") as other:
        addresses = ["127.0.0.2", "127.0.0.1"]  # nobody listens at the second's port
        poster = WebhookSender(KEY, ["127.0.0.1"], lambda *_: addresses)
        assert await post(poster, there.url(host="several.test")) == 204
        poster = WebhookSender(
            KEY, ["127.0.0.1", "127.0.0.3"], lambda *_: ["127.0.0.1", "127.0.0.3"]
        )
        assert await post(poster, other.url(host="several.test")) == 204
    assert (len(there.calls), len(other.calls)) == (1, 1)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    with receiver([status]) as there:
        assert await post(WebhookSender(KEY, ["127.0.0.1"]), there.url()) == status
    assert [path for path, _, _ in there.calls] == ["/hook"]


async def test_the_certificate_is_that_of_the_host_and_not_of_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, host in (("right", "DNS:receiver.test"), ("wrong", "DNS:other.test")):
        make_certificate(tmp_path, name, host)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / f"{name}.pem"))
        poster = WebhookSender(KEY, ["127.0.0.1"], lambda *_: ["127.0.0.1"])
        with receiver(certificate=tmp_path / name) as there:
            url = f"https://receiver.test:{there.port}/hook"
            if name == "right":
                assert await post(poster, url) == 204
            else:
                with pytest.raises(httpcore.ConnectError, match="Hostname mismatch"):
                    await post(poster, url)


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
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_the_systems_resolver_knows_this_machine() -> None:
    assert "127.0.0.1" in resolve("localhost", 80)
    with pytest.raises(OSError, match="known"):
        resolve("nowhere.invalid", 80)
