"""The trace context of a job: the producer's, stored in the ledger; not part of the id."""

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


def current_traceparent() -> str | None:
    """Return the W3C ``traceparent`` of the current span, or None."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def context_of(traceparent: str | None) -> Context:
    """Return a context in which the given span is current; empty if it is None or malformed."""
    return _propagator.extract({"traceparent": traceparent or ""}, Context())
