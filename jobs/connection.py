"""Connections to Redis, each bounded in time, whose failures say what to do next."""

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

from revalid.jobs.errors import BrokerUnavailable, InvalidSettings

CONNECT_TIMEOUT_S = 3
SOCKET_TIMEOUT_S = 8
_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "max_connections": 10_000,  # a follower holds one; redis-py's own bound is 100
}


def connect(url: str, *, text: bool = True) -> Redis:
    """A synchronous client; it connects when first used.

    Args:
        text: Decode answers to str; blobs are read without.

    Raises:
        InvalidSettings: The URL is not one of Redis.
    """
    # A cut connection is made anew; a broker that hangs has had its time.
    retry = Retry(ExponentialBackoff(cap=1, base=0.1), 1, (RedisConnectionError,))
    options = dict(_OPTIONS, retry=retry, decode_responses=text)
    if url.startswith("unix:"):
        del options["socket_keepalive"]
    with _bad_urls(url):
        client = Redis.from_url(url, **options)
        _check_options(client.connection_pool)
    return client


def connect_async(url: str) -> "redis.asyncio.Redis":
    """An asynchronous client that decodes answers; it connects when first used.

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
    """The URL without its password, also where it is no URL."""
    without = re.sub(r"\A([^:]*://[^:/?#@]*:).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", without)


def _check_options(pool: "ConnectionPool | redis.asyncio.ConnectionPool") -> None:
    """Refuse a query that no connection knows now: later it would be nobody's error."""
    pool.connection_class(**pool.connection_kwargs)


@contextmanager
def _bad_urls(url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RedisError):  # their words may quote the password
        raise InvalidSettings(
            f"REVALID_BROKER_URL {redact(url)!r} is not the URL of a Redis, such as "
            "redis://:password@host:6379/0 or unix:///path?db=0; write a password's special "
            "characters as %XX"
        ) from None


@contextmanager
def broker_errors(url: str) -> Iterator[None]:
    """Turn Redis's failures into :class:`~revalid.jobs.errors.BrokerUnavailable`, with a fix."""
    where = redact(url)
    try:
        yield
    except AuthenticationError as error:
        raise BrokerUnavailable(
            f"broker {where} refuses the password or user ({error}): correct REVALID_BROKER_URL"
        ) from None
    except OutOfMemoryError:
        raise BrokerUnavailable(
            f"broker {where} is full and stored nothing: raise its maxmemory or purge old jobs"
        ) from None
    except (RedisConnectionError, RedisTimeoutError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise BrokerUnavailable(
                f"broker {where} shows a certificate that is not trusted ({error}): name its "
                "authority in REVALID_BROKER_URL, ?ssl_ca_certs=/path/ca.pem, or correct the host"
            ) from None
        raise BrokerUnavailable(
            f"broker {where} is not reached ({error}): start it, or correct REVALID_BROKER_URL"
        ) from None
    except RedisError as error:
        if isinstance(error, NoPermissionError) or "ACL failure in script" in str(error):
            user = urlsplit(url).username or "default"
            raise BrokerUnavailable(
                f"broker {where} does not allow this to the user {user} ({error}): name another in "
                "REVALID_BROKER_URL, or give it its role's line of deploy/users.acl"
            ) from None
        raise BrokerUnavailable(f"broker {where} refused: {error}") from None
