"""One signed POST to a webhook, to no address but those that are allowed."""

import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpcore
from anyio import to_thread
from pydantic import SecretStr
from standardwebhooks import Webhook

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.settings import VERSION

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], list[str]]
"""The addresses of a host, as text."""
_UNICAST = ip_network("2000::/3")


def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says. Raises OSError where it knows none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and stands for no other."""
    if isinstance(address, IPv6Address) and (
        address not in _UNICAST or address.sixtofour or address.teredo
    ):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class _AllowedAddresses(httpcore.AsyncNetworkBackend):
    """Connects to an address that it has looked up and checked: there is no second look-up."""

    def __init__(self, allow: Sequence[str], look_up: Resolve, *, plain: bool) -> None:
        self._names = {word.lower() for word in allow}
        self._networks = [network for word in allow if (network := _network(word))]
        self._look_up = look_up
        self._plain = plain
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await to_thread.run_sync(self._look_up, host, port, abandon_on_cancel=True)
        addresses = [address for address in found if self._allows(host, address)]
        if not addresses:
            raise PolicyRefused(
                f"{host} is at {', '.join(found)}: REVALID_WEBHOOK_ALLOW of this worker names "
                + ("no such host, which http:// needs" if self._plain else "no such address")
            )
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout)

    def _allows(self, host: str, text: str) -> bool:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if host.lower().rstrip(".") in self._names:
            return True
        if any(address in network for network in self._networks):
            return True
        return not self._plain and is_public(address)


class WebhookSender:
    """Signs and posts.

    Args:
        key: Of the form ``whsec_...``.
        allow: Hosts, addresses and networks that are allowed besides public addresses.
    """

    def __init__(self, key: SecretStr, allow: Sequence[str], look_up: Resolve = resolve) -> None:
        self._key = Webhook(key.get_secret_value())
        self._allow = allow
        self._look_up = look_up
        self._tls = httpcore.default_ssl_context()

    async def post(self, url: str, delivery_id: str, body: str, *, timeout_s: float) -> int:
        """The answer's status. Nothing else of the answer is read, and no redirect followed.

        Args:
            timeout_s: Of each single wait; the caller bounds the whole.

        Raises:
            PolicyRefused: The host has no address that is allowed.
            OSError: The host is not known.
            httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError: No answer.
        """
        now = datetime.now(UTC)
        headers: dict[bytes | str, bytes | str] = {
            "content-type": "application/json",
            "user-agent": f"revalid/{VERSION}",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._key.sign(delivery_id, now, body),
        }
        target = httpcore.URL(url)
        guard = _AllowedAddresses(self._allow, self._look_up, plain=target.scheme != b"https")
        waits = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        async with (
            httpcore.AsyncConnectionPool(self._tls, network_backend=guard) as pool,
            pool.stream(
                "POST",
                target,
                headers=headers,
                content=body.encode(),
                extensions={"timeout": waits},
            ) as answer,
        ):
            return answer.status


def _network(word: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(word, strict=False)
    except ValueError:  # it is a name
        return None
