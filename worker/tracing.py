"""Traces attempts and steps. The Dagger SDK passes the current step's span to the engine.

Nothing is recorded unless the standard ``OTEL_*`` variables name an exporter.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dagger import telemetry
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode

from revalid.jobs.job import Job
from revalid.jobs.ledger.record import Attempt, Record
from revalid.jobs.result import JobResult, StepResult, Verdict
from revalid.jobs.trace_context import context_of

_tracer = trace.get_tracer("revalid")


def start_tracing() -> None:
    """Set up the exporters that ``OTEL_*`` name, as the Dagger SDK does in its first session."""
    if telemetry.otel_configured():
        os.environ.setdefault("OTEL_SERVICE_NAME", "revalid-worker")
    telemetry.initialize()


def stop_tracing() -> None:
    """Export the remaining spans."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


@contextmanager
def attempt_span(job: Job, attempt: Attempt, record: Record) -> Iterator[Span]:
    """Open a span of an attempt in the trace of the job's submit, and make it current."""
    with _tracer.start_as_current_span(
        "attempt",
        context_of(record.traceparent),
        SpanKind.CONSUMER,
        {
            "revalid.job": job.id,
            "revalid.attempt": attempt.number,
            "revalid.tenant": job.tenant,
            "revalid.strategy": str(job.strategy),
            "revalid.lane": job.lane.value,
        },
        record_exception=False,  # the message may contain secrets
        set_status_on_exception=False,
    ) as span:
        yield span


def record_verdict(span: Span, result: JobResult | None) -> None:
    """Record how the attempt ended; None means that another attempt has or will have the job."""
    span.set_attribute("revalid.verdict", result.verdict.value if result else "none")
    if result is None or result.verdict is Verdict.ERRORED:
        span.set_status(StatusCode.ERROR)


@contextmanager
def step_span(name: str, op: str) -> Iterator[Span]:
    """Open a span of one step and make it current; ``name`` must be scrubbed of secrets."""
    with _tracer.start_as_current_span(
        name,
        attributes={"revalid.step.op": op},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def record_step(span: Span, result: StepResult) -> None:
    """Record how the step ended."""
    if result.exit_code is not None:
        span.set_attribute("revalid.step.exit_code", result.exit_code)
    span.set_attribute("revalid.step.cached", result.cached)
    if not result.ok:
        span.set_status(StatusCode.ERROR)
