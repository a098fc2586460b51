"""Connections to Redis, with timeouts and errors that say what to do next."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
from redis import ConnectionError as RedisConnectionError
from redis import ConnectionPool, Redis, RedisError
from redis import TimeoutError as RedisTimeoutError
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError
from redis.retry import Retry

from revalid.jobs.errors import RETRY_AFTER_S, BrokerUnavailable, InvalidSettings

CONNECT_TIMEOUT_S = 3
SOCKET_TIMEOUT_S = 8
_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "max_connections": 10_000,  # each follower holds one; redis-py's default is 100
}


def connect(url: str, *, text: bool = True) -> Redis:
    """Return a synchronous client; it connects on first use.

    Args:
        text: Decode replies to str. Blobs need False.

    Raises:
        InvalidSettings: The URL is not one of Redis.
    """
    # Retry a lost connection once. Do not retry a timeout: the caller has waited long enough.
    retry = Retry(ExponentialBackoff(cap=1, base=0.1), 1, (RedisConnectionError,))
    options = dict(_OPTIONS, retry=retry, decode_responses=text)
    if url.startswith("unix:"):
        del options["socket_keepalive"]
    with _bad_urls(url):
        client = Redis.from_url(url, **options)
        _check_options(client.connection_pool)
    return client


def connect_async(url: str) -> "redis.asyncio.Redis":
    """Return an asynchronous client that decodes replies; it connects on first use.

    Raises:
        InvalidSettings: The URL is not one of Redis.
    """
    options = dict(_OPTIONS, decode_responses=True)
    if url.startswith("unix:"):
        del options["socket_keepalive"]
    with _bad_urls(url):
        client = redis.asyncio.Redis.from_url(url, **options)
        _check_options(client.connection_pool)
    return client


def redact(url: str) -> str:
    """Return the URL without its password; malformed URLs are redacted too."""
    without = re.sub(r"\A([^:]*://[^:/?#@]*:).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", without)


def _check_options(pool: "ConnectionPool | redis.asyncio.ConnectionPool") -> None:
    """Build one connection, so that an unknown URL option is refused now and not on first use."""
    pool.connection_class(**pool.connection_kwargs)


@contextmanager
def _bad_urls(url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RedisError):  # their text may quote the password
        raise InvalidSettings(
            f"REVALID_BROKER_URL {redact(url)!r} is not a Redis URL: use "
            "redis://:password@host:6379/0 or unix:///path?db=0, and write special characters of a "
            "password as %XX"
        ) from None


@contextmanager
def broker_errors(url: str) -> Iterator[None]:
    """Convert Redis's failures to :class:`~revalid.jobs.errors.BrokerUnavailable`, with a fix."""
    where = redact(url)
    try:
        yield
    except AuthenticationError as error:
        raise BrokerUnavailable(
            f"broker {where} rejected the user or password ({error}): correct REVALID_BROKER_URL"
        ) from None
    except OutOfMemoryError:
        raise BrokerUnavailable(
            f"broker {where} is full and stored nothing: raise its maxmemory, or purge old jobs",
            retry_after_s=RETRY_AFTER_S,
        ) from None
    except (RedisConnectionError, RedisTimeoutError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise BrokerUnavailable(
                f"broker {where} has an untrusted certificate ({error}): add "
                "?ssl_ca_certs=/path/ca.pem to REVALID_BROKER_URL, or correct the host"
            ) from None
        raise BrokerUnavailable(
            f"broker {where} cannot be reached ({error}): start it, or correct REVALID_BROKER_URL",
            retry_after_s=RETRY_AFTER_S,
        ) from None
    except RedisError as error:
        if isinstance(error, NoPermissionError) or "ACL failure in script" in str(error):
            user = urlsplit(url).username or "default"
            raise BrokerUnavailable(
                f"broker {where} does not allow the user {user} to do this ({error}): "
                "set another user in REVALID_BROKER_URL, or apply its line of deploy/users.acl"
            ) from None
        raise BrokerUnavailable(f"broker {where} refused the command: {error}") from None
