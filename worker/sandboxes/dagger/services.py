"""Starts services beside a command of a container, as services of the engine."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic

import dagger

from revalid.jobs.errors import InvalidJob, RevalidError, SandboxLost
from revalid.worker.sandboxes.dagger.engine import Engine, one_line
from revalid.worker.sandboxes.protocol import StepFailed
from revalid.worker.services import NeededService

START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0
_LOG_LINES, _LOG_CHARACTERS = 5, 1_000
_NONCE = "REVALID_SERVICE"


_EXITED = re.compile(r"aliased as ([\w.-]{1,80})\) exited(?:: exit code: (\d+))?")
_SPAN = re.compile(r"\[traceparent:[0-9a-f]{32}-([0-9a-f]{16})\]")
_ANSWERS = """
until /bin/busybox wget -q -T 5 -O /dev/null "$1"; do
  /bin/busybox sleep 0.2
done
"""


@dataclass(frozen=True, slots=True)
class Bound:
    """A service that runs.

    Attributes:
        ready_s: Seconds until it was ready.
    """

    service: NeededService
    server: dagger.Service
    ready_s: float


@asynccontextmanager
async def running(engine: Engine, services: Sequence[NeededService]) -> AsyncIterator[list[Bound]]:
    """Start services, and stop them afterwards; the engine stops those of a lost session.

    Raises:
        InvalidJob: No registry knows the image.
        StepFailed: The server of an image that the job chose did not start.
        SandboxLost: Another server did not start.
    """
    bound: list[Bound] = []
    try:
        for service in services:
            began = monotonic()
            server = await _start(engine, service)
            bound.append(Bound(service, server, monotonic() - began))
        yield bound
    finally:
        for each in bound:
            with suppress(dagger.QueryError, RevalidError, TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await engine.call(each.server.stop(kill=True))


async def failure_of(
    engine: Engine, services: Sequence[NeededService], error: dagger.QueryError
) -> Exception | None:
    """Return the failure of a service that ended beside a command; None if none did."""
    match = _EXITED.search(str(error))
    ended = [s for s in services if match and match[1] in (s.name, *s.hosts)]
    if match is None or not ended:
        return None
    span = _SPAN.search(str(error))
    log = await engine.live.tail(span[1]) if span else ""
    return _failure(ended[0], f"ended while the command ran (exit {match[2] or 0})", log)


def _failure(service: NeededService, what: str, log: str) -> Exception:
    lines = log.strip().splitlines()[-_LOG_LINES:]
    shown = f"; its log ends with: {' | '.join(lines)[-_LOG_CHARACTERS:]}" if lines else ""
    words = f"service {service.name} ({service.image}) {what}{shown}"
    return StepFailed(words) if service.declared else SandboxLost(words)


async def _start(engine: Engine, service: NeededService) -> dagger.Service:
    try:
        image = await engine.pin(service.image)
    except InvalidJob:
        raise InvalidJob(
            f"service {service.name}: no registry knows its image {service.image!r}: "
            "correct --service, or the project's compose file"
        ) from None
    client = await engine.client()
    # The engine merges equal services: the nonce makes each one its own.
    container = client.container().from_(image).with_env_variable(_NONCE, uuid.uuid4().hex)
    for name, value in service.environment().items():
        container = container.with_env_variable(name, value)
    container = container.with_exposed_port(service.facts.port)
    server = container.as_service(use_entrypoint=True, args=service.arguments() or None)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await engine.call(server.start())
            if service.other is not None and service.other.ready is not None:
                url = f"http://{service.name}:{service.facts.port}{service.other.ready}"
                asking = client.container().from_(await engine.pin(engine.tools_image))
                asking = asking.with_service_binding(service.name, server)
                command = ["/bin/busybox", "sh", "-c", _ANSWERS, "revalid", url]
                await engine.call(asking.with_exec(command, no_init=True).sync())
    except dagger.QueryError as error:
        log = f"{error.stdout}\n{error.stderr}" if isinstance(error, dagger.ExecError) else ""
        failure = await failure_of(engine, [service], error)
        raise failure or _failure(service, f"did not start: {one_line(error)}", log) from None
    except TimeoutError:
        raise _failure(service, f"was not ready within {START_TIMEOUT_S:g} s", "") from None
    return server
