"""A web backend that validates what people upload: submit, look, follow, cancel.

It has no accounts. In yours, check who asks, and give ``submit`` a ``tenant`` for each customer:
equal projects of one tenant are one job, which any of its users may read and cancel.
"""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

from fastapi import Depends, FastAPI, Form, Header, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from jobs.errors import InvalidJob, InvalidProject, QueueFull, TransientError, UnknownJob
from jobs.record import State
from jobs.result import JobResult
from producer.async_client import AsyncClient

MAX_UPLOAD_BYTES = 64 * 2**20

log = logging.getLogger(__name__)


class Validation(BaseModel):
    """How far a validation is, and what it came to."""

    id: str
    state: State
    result: JobResult | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one client for as long as the app runs; it connects when first used."""
    async with AsyncClient() as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(InvalidJob)
@app.exception_handler(InvalidProject)
@app.exception_handler(UnknownJob)
async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer with the error's own line: it says what is wrong and what to do."""
    return JSONResponse({"detail": str(error)}, 404 if isinstance(error, UnknownJob) else 422)


@app.exception_handler(TransientError)
async def put_off(_: Request, error: Exception) -> JSONResponse:
    """Keep the line for operators, since it names the broker; who asked may try again."""
    log.error("%s", error)
    if isinstance(error, QueueFull):
        detail, status = "too many validations are queued: try again later", 429
    else:
        detail, status = "validation is not available now: try again later", 503
    return JSONResponse({"detail": detail}, status, {"Retry-After": "10"})


def _client(request: Request) -> AsyncClient:
    return cast(AsyncClient, request.app.state.client)


Client = Annotated[AsyncClient, Depends(_client)]
EventId = Annotated[str, Header(pattern=r"^[0-9]{1,19}(-[0-9]{1,19})?$")]


@app.post("/validations", status_code=202)
async def submit(
    client: Client,
    project: UploadFile,
    commands: Annotated[list[str], Form(default_factory=list)],
    labels: Annotated[list[str], Form(default_factory=list, description="key=value")],
    strategy: Annotated[str | None, Form()] = None,
) -> dict[str, str]:
    """Queue the validation of a tarball."""
    if (project.size or 0) > MAX_UPLOAD_BYTES:
        raise HTTPException(413, f"the tarball is larger than {MAX_UPLOAD_BYTES} bytes")
    job = await client.submit(
        await project.read(),
        strategy=strategy,
        commands=commands,
        labels=dict(label.partition("=")[::2] for label in labels),
    )
    return {"id": job.id, "url": app.url_path_for("look", job_id=job.id)}


@app.get("/validations/{job_id}")
async def look(client: Client, job_id: str) -> Validation:
    """Show the state of a validation, and its result once it is done."""
    job = client.job(job_id)
    state = (await job.status()).state
    result = await job.result() if state is State.DONE else None
    return Validation(id=job_id, state=state, result=result)


@app.get("/validations/{job_id}/events")
async def follow(client: Client, job_id: str, last_event_id: EventId = "0") -> EventSourceResponse:
    """Send what happens as Server-Sent Events, after the one that Last-Event-ID names.

    The last is ``finished``: close the ``EventSource`` there, or it connects again.
    """
    job = client.job(job_id)
    await job.status()  # an unknown id is a 404, not a stream that breaks

    async def stream() -> AsyncIterator[ServerSentEvent]:
        async for event in job.events(last_event_id):
            yield ServerSentEvent(json.dumps(event.data), event=event.type, id=event.id)

    return EventSourceResponse(stream())


@app.delete("/validations/{job_id}", status_code=202)
async def cancel(client: Client, job_id: str) -> dict[str, State]:
    """Ask a validation to end; answers the state that it was in."""
    return {"state": await client.job(job_id).cancel()}
