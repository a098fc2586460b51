"""A web backend that validates uploaded projects: submit, look, follow, cancel.

This app has no accounts. In yours, check who asks, and give ``submit`` a ``tenant`` for each
customer. Equal projects of one tenant are one job, which any of its users may read and cancel.
"""

import json
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI, Form, Header, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from revalid import (
    AsyncClient,
    InvalidJob,
    InvalidProject,
    JobResult,
    JobState,
    QueueFull,
    StoreFull,
    TransientError,
    UnknownJob,
)

MAX_UPLOAD_BYTES = 64 * 2**20
PAGE = Path(__file__).with_name("index.html")
JOB_ID = "b13f5985c4c44c919a0c91d9256d4e9a"

log = logging.getLogger(__name__)


class Accepted(BaseModel):
    """A validation that is queued, running, or done earlier."""

    id: str = Field(examples=[JOB_ID])
    url: str = Field(examples=[f"/validations/{JOB_ID}"])


class Validation(BaseModel):
    """The state of a validation, and its result."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"id": JOB_ID, "state": "running", "result": None}}
    )

    id: str
    state: JobState
    result: JobResult | None = None


class Cancelled(BaseModel):
    """The state that the validation was in. A validation that was done stays as it is."""

    state: JobState


class Problem(BaseModel):
    """One line that says how to fix the request."""

    detail: str


def _problem(description: str, detail: str) -> dict[str, Any]:
    return {
        "model": Problem,
        "description": description,
        "content": {"application/json": {"example": {"detail": detail}}},
    }


def _later(description: str, detail: str) -> dict[str, Any]:
    header = {"description": "seconds to wait", "schema": {"type": "integer"}}
    return _problem(description, detail) | {"headers": {"Retry-After": header}}


FULL = "too many validations are queued: try again later"
AWAY = "validation is not available now: try again later"
TOO_LARGE = f"the tarball is larger than {MAX_UPLOAD_BYTES} bytes"
Responses = dict[int | str, dict[str, Any]]
WRONG: Responses = {
    422: _problem("The request is wrong", "the job is not valid: strategy: Input should be 'auto'…")
}
UNKNOWN: Responses = WRONG | {
    404: _problem("No such validation", f"job {JOB_ID}: no such job, or its result was purged")
}
SUBMIT: Responses = WRONG | {
    413: _problem("The tarball is too large", TOO_LARGE),
    429: _later("Too much is queued", FULL),
}
FOLLOW: Responses = UNKNOWN | {
    200: {
        "description": "Server-Sent Events; revalid's Python API lists their types",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 1760000000000-0\nevent: finished\ndata: {"verdict": "passed"}\n\n',
            }
        },
    }
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one client for as long as the app runs; it connects when first used."""
    async with AsyncClient() as client:
        app.state.client = client
        yield


app = FastAPI(title="Validations", lifespan=lifespan, responses={503: _later("No broker", AWAY)})


@app.exception_handler(InvalidJob)
@app.exception_handler(InvalidProject)
@app.exception_handler(UnknownJob)
async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer with the message of the error, which says how to fix the request."""
    return JSONResponse({"detail": str(error)}, 404 if isinstance(error, UnknownJob) else 422)


@app.exception_handler(RequestValidationError)
async def refuse_request(_: Request, error: RequestValidationError) -> JSONResponse:
    """Answer in the same form if FastAPI refuses the request."""
    lines = (f"{found['loc'][-1]}: {found['msg']}" for found in error.errors())
    return JSONResponse({"detail": "; ".join(lines)}, 422)


@app.exception_handler(TransientError)
async def put_off(_: Request, error: TransientError) -> JSONResponse:
    """Log the message for operators, because it names the broker, and ask for a retry."""
    log.error("%s", error)
    detail, status = (FULL, 429) if isinstance(error, QueueFull | StoreFull) else (AWAY, 503)
    wait_s = math.ceil(error.retry_after_s or 10)
    return JSONResponse({"detail": detail}, status, {"Retry-After": str(wait_s)})


def _client(request: Request) -> AsyncClient:
    return cast(AsyncClient, request.app.state.client)


Client = Annotated[AsyncClient, Depends(_client)]
Key = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Makes a retry safe: for a day, the same key with the same request is the "
        "same validation, and with another request a 422",
    ),
]
EventId = Annotated[str, Header(pattern=r"^[0-9]{1,19}(-[0-9]{1,19})?$")]


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Serve a page that submits a tarball and follows it."""
    return FileResponse(PAGE)


@app.post("/validations", status_code=202, responses=SUBMIT)
async def submit(
    client: Client,
    project: UploadFile,
    commands: Annotated[list[str], Form(default_factory=list)],
    labels: Annotated[list[str], Form(default_factory=list, description="key=value")],
    strategy: Annotated[str | None, Form()] = None,
    idempotency_key: Key = None,
) -> Accepted:
    """Queue the validation of a tarball."""
    if (project.size or 0) > MAX_UPLOAD_BYTES:
        raise HTTPException(413, TOO_LARGE)
    job = await client.submit(
        await project.read(),
        idempotency_key=idempotency_key,
        strategy=strategy,
        commands=commands,
        labels=dict(label.partition("=")[::2] for label in labels),
    )
    return Accepted(id=job.id, url=app.url_path_for("look", job_id=job.id))


@app.get("/validations/{job_id}", responses=UNKNOWN)
async def look(client: Client, job_id: str) -> Validation:
    """Show the state of a validation, and its result once it is done."""
    job = client.job(job_id)
    state = (await job.status()).state
    result = await job.result() if state is JobState.DONE else None
    return Validation(id=job_id, state=state, result=result)


@app.get("/validations/{job_id}/events", response_class=EventSourceResponse, responses=FOLLOW)
async def follow(client: Client, job_id: str, last_event_id: EventId = "0") -> EventSourceResponse:
    """Send the events after Last-Event-ID as Server-Sent Events.

    ``finished`` is the last event. Close the ``EventSource`` there, or it connects again.
    """
    await client.job(job_id).status()  # answers 404 for an unknown id, before the stream starts

    async def stream() -> AsyncIterator[ServerSentEvent]:
        async for event in client.events(job_id, last_event_id):
            yield ServerSentEvent(json.dumps(event.data), event=event.type, id=event.id)

    return EventSourceResponse(stream())


@app.delete("/validations/{job_id}", status_code=202, responses=UNKNOWN)
async def cancel(client: Client, job_id: str) -> Cancelled:
    """Cancel a validation, and answer with the state that it was in."""
    return Cancelled(state=await client.job(job_id).cancel())
