"""Sends one signed POST to a webhook, only to allowed addresses."""

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
"""Returns the addresses of a host, as text."""
_UNICAST = ip_network("2000::/3")


def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses from the system's resolver.

    Raises:
        OSError: The host is not known.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in entries))


def is_public(address: Address) -> bool:
    """Return whether an address is on the public internet and does not embed another address."""
    if isinstance(address, IPv6Address) and (
        address not in _UNICAST or address.sixtofour or address.teredo
    ):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class _AllowedAddresses(httpcore.AsyncNetworkBackend):
    """Connects to an address that it resolved and checked itself, without a second resolution."""

    def __init__(self, allow: Sequence[str], resolver: Resolve, *, is_http: bool) -> None:
        self._names = {entry.lower() for entry in allow}
        self._networks = [network for entry in allow if (network := _network(entry))]
        self._resolver = resolver
        self._is_http = is_http
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await to_thread.run_sync(self._resolver, host, port, abandon_on_cancel=True)
        allowed = [address for address in addresses if self._allows(host, address)]
        if not allowed:
            raise PolicyRefused(
                f"{host} resolves to {', '.join(addresses)}: REVALID_WEBHOOK_ALLOW of this worker "
                + ("must list a host of http://" if self._is_http else "does not list it")
            )
        for address in allowed[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(allowed[-1], port, timeout)

    def _allows(self, host: str, text: str) -> bool:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if host.lower().rstrip(".") in self._names:
            return True
        if any(address in network for network in self._networks):
            return True
        return not self._is_http and is_public(address)


class WebhookSender:
    """Signs and posts webhooks.

    Args:
        key: The signing key, in the form ``whsec_...``.
        allow: Hosts, addresses and networks that are allowed besides public addresses.
        resolver: Resolves hosts; the system's resolver by default.
    """

    def __init__(self, key: SecretStr, allow: Sequence[str], resolver: Resolve = resolve) -> None:
        self._key = Webhook(key.get_secret_value())
        self._allow = allow
        self._resolver = resolver
        self._tls = httpcore.default_ssl_context()

    async def post(self, url: str, delivery_id: str, body: str, *, timeout_s: float) -> int:
        """Post one delivery and return the HTTP status of the response.

        The body of the response is not read, and redirects are not followed.

        Args:
            timeout_s: Seconds of each single wait; the caller bounds the whole call.

        Raises:
            PolicyRefused: The host has no allowed address.
            OSError: The host is not known.
            httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError: There was no
                valid response.
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
        backend = _AllowedAddresses(self._allow, self._resolver, is_http=target.scheme != b"https")
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        async with (
            httpcore.AsyncConnectionPool(self._tls, network_backend=backend) as pool,
            pool.stream(
                "POST",
                target,
                headers=headers,
                content=body.encode(),
                extensions={"timeout": timeouts},
            ) as response,
        ):
            return response.status


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:  # a host name
        return None
