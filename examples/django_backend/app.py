# mypy: disable-error-code="import-untyped"
"""The FastAPI backend's four endpoints as a Django app of one file, on the synchronous client.

Each follower of a job holds a thread while it listens. For hundreds of followers use
``AsyncClient`` under ASGI. This app has no accounts and no cookies. In yours, check who asks, and
give ``submit`` a ``tenant`` for each customer.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.servers.basehttp import WSGIServer
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from revalid import (
    Client,
    InvalidJob,
    InvalidProject,
    JobState,
    QueueFull,
    StoreFull,
    TransientError,
    UnknownJob,
)

MAX_UPLOAD_BYTES = 64 * 2**20
EVENT_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

log = logging.getLogger(__name__)
client = Client()  # connects when first used; safe to share between threads


class Errors:
    """Middleware that answers with the message of an error, which says how to fix it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> HttpResponse | None:
        match error:
            case InvalidJob() | InvalidProject():
                return JsonResponse({"detail": str(error)}, status=422)
            case UnknownJob():
                return JsonResponse({"detail": str(error)}, status=404)
            case QueueFull() | StoreFull():
                detail = "too many validations are queued: try again later"
                return JsonResponse({"detail": detail}, status=429, headers=_later(error))
            case TransientError():
                log.error("%s", error)  # only for operators, because it names the broker
                detail = "validation is not available now: try again later"
                return JsonResponse({"detail": detail}, status=503, headers=_later(error))
        return None


def _later(error: TransientError) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(error.retry_after_s or 10))}


def submit(request: HttpRequest) -> HttpResponse:
    """Queue the validation of a tarball."""
    project = request.FILES.get("project")
    if project is not None and project.size > MAX_UPLOAD_BYTES:
        detail = f"the tarball is larger than {MAX_UPLOAD_BYTES} bytes"
        return JsonResponse({"detail": detail}, status=413)
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= 255:
        return JsonResponse({"detail": "Idempotency-Key: give 1 to 255 characters"}, status=422)
    job = client.submit(
        project.read() if project else None,
        idempotency_key=key,
        strategy=request.POST.get("strategy"),
        commands=request.POST.getlist("commands"),
        labels=dict(label.partition("=")[::2] for label in request.POST.getlist("labels")),
    )
    return JsonResponse({"id": job.id, "url": reverse("validation", args=[job.id])}, status=202)


def validation(request: HttpRequest, job_id: str) -> HttpResponse:
    """Show the state of a validation, and its result once it is done, or cancel it."""
    job = client.job(job_id)
    if request.method == "DELETE":
        return JsonResponse({"state": job.cancel()}, status=202)
    state = job.status().state
    result = job.result().model_dump(mode="json") if state is JobState.DONE else None
    return JsonResponse({"id": job_id, "state": state, "result": result})


def follow(request: HttpRequest, job_id: str) -> HttpResponse:
    """Send the events after Last-Event-ID as Server-Sent Events."""
    after = request.headers.get("Last-Event-ID", "0")
    if not EVENT_ID.fullmatch(after):
        return JsonResponse({"detail": "Last-Event-ID: not the id of an event"}, status=422)
    client.job(job_id).status()  # answers 404 for an unknown id, before the stream starts
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        stream(job_id, after), content_type="text/event-stream", headers=headers
    )


def stream(job_id: str, after: str) -> Iterator[str]:
    """Yield the job's events in the format of Server-Sent Events."""
    for event in client.events(job_id, after):
        yield f"id: {event.id}\nevent: {event.type}\ndata: {json.dumps(event.data)}\n\n"


urlpatterns = [
    path("validations", require_POST(submit)),
    path(
        "validations/<str:job_id>",
        require_http_methods(["GET", "DELETE"])(validation),
        name="validation",
    ),
    path("validations/<str:job_id>/events", require_GET(follow)),
]
settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    MIDDLEWARE=[f"{__name__}.Errors"],
    ROOT_URLCONF=__name__,
)
WSGIServer.request_queue_size = 1024  # runserver's own 10 resets connections under load
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
