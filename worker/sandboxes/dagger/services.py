"""Starts services beside a command of a container, as services of the engine."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import dagger

from revalid.jobs.errors import InvalidJob, RevalidError, SandboxLost
from revalid.worker.sandboxes.dagger.engine import Engine, one_line
from revalid.worker.services import NeededService

START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0
_LOG_LINES, _LOG_CHARACTERS = 5, 1_000
_NONCE = "REVALID_SERVICE"


@asynccontextmanager
async def running(
    engine: Engine, services: Sequence[NeededService]
) -> AsyncIterator[list[tuple[NeededService, str, dagger.Service]]]:
    """Start services, and stop them afterwards; the engine stops those of a lost session.

    Yields:
        Each service, the host name under which it is to be bound, and its server.

    Raises:
        InvalidJob: No registry knows the image.
        SandboxLost: The server did not start.
    """
    started: list[tuple[NeededService, str, dagger.Service]] = []
    try:
        for service in services:
            server = await _start(engine, service)
            started.append((service, str(service.kind), server))
        yield started
    finally:
        for _, _, server in started:
            with suppress(dagger.QueryError, RevalidError, TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await engine.call(server.stop(kill=True))


async def _start(engine: Engine, service: NeededService) -> dagger.Service:
    try:
        image = await engine.pin(service.image)
    except InvalidJob:
        raise InvalidJob(
            f"service {service.kind}: no registry knows its image {service.image!r}: "
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
    except dagger.QueryError as error:
        log = f"; its log ends with: {_last(error)}" if isinstance(error, dagger.ExecError) else ""
        raise SandboxLost(
            f"service {service.kind} ({service.image}) did not start: {one_line(error)}{log}"
        ) from None
    except TimeoutError:
        raise SandboxLost(
            f"service {service.kind} ({service.image}) was not ready within {START_TIMEOUT_S:g} s"
        ) from None
    return server


def _last(error: dagger.ExecError) -> str:
    lines = f"{error.stdout}\n{error.stderr}".strip().splitlines() or ["nothing"]
    return " | ".join(lines[-_LOG_LINES:])[-_LOG_CHARACTERS:]
