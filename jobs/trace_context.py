"""The trace that a job belongs to: its producer's, carried in the ledger and no part of the id."""

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


def current_traceparent() -> str | None:
    """The W3C ``traceparent`` of the span that is current here, if one is."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def context_of(traceparent: str | None) -> Context:
    """A context in which the span named is current; an empty one where none is, or nonsense."""
    return _propagator.extract({"traceparent": traceparent or ""}, Context())
