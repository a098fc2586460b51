"""Traces from a submit, through the queue, to the worker and the engine."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from revalid.jobs.job import SandboxPolicy
from revalid.producer.async_client import AsyncClient
from revalid.producer.client import Client
from tests.integration.conftest import StartWorker, eventually
from tests.integration.otlp import spans_received

KINDS = ["local", pytest.param("dagger", marks=pytest.mark.dagger)]
tracer = TracerProvider().get_tracer("web")


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_and_its_steps_belong_to_the_request(
    client: Client, start_worker: StartWorker, project: Path, kind: SandboxPolicy
) -> None:
    with spans_received() as spans:
        start_worker(**spans.environ, REVALID_SECRET_ALLOW="TOKEN", TOKEN="hunter2-hunter2")
        with tracer.start_as_current_span("request") as request:
            handle = client.submit(
                project,
                commands=["echo one", "echo hunter2-hunter2; exit 3"],
                sandbox=kind,
                secrets={"TOKEN": "env://TOKEN"},
            )
        handle.result(60)
        eventually(lambda: spans.by_name("attempt"))
        (attempt,) = spans.by_name("attempt")
        request_context = request.get_span_context()
        assert attempt.trace_id == request_context.trace_id.to_bytes(16, "big")
        assert attempt.parent_span_id == request_context.span_id.to_bytes(8, "big")
        attempt_attributes = attributes(attempt)
        assert (attempt_attributes["revalid.job"], attempt_attributes["revalid.verdict"]) == (
            handle.id,
            "failed",
        )
        own = [span for span in spans.below(attempt.span_id) if span.name.startswith("echo")]
        assert [attributes(span)["revalid.step.exit_code"] for span in own] == [0, 3]
        assert "hunter2" not in str(own)
        if kind == "dagger":
            eventually(lambda: any(spans.below(span.span_id) for span in own))
            assert all(span.trace_id == attempt.trace_id for span in spans.below(own[0].span_id))


@pytest.mark.dagger
def test_jobs_of_one_engine_session_have_a_trace_each(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    with spans_received() as spans:
        start_worker(**spans.environ)
        for command in ("echo first", "echo second"):
            with tracer.start_as_current_span("request") as request:
                client.submit(project, commands=[command], sandbox="dagger").result(60)
            eventually(partial(spans.by_name, command))
            step = spans.by_name(command)[0]
            assert step.trace_id == request.get_span_context().trace_id.to_bytes(16, "big")
            eventually(partial(spans.below, step.span_id))


def test_the_async_client_hands_on_its_span_also_to_a_dead_job_run_again(
    client: Client, project: Path
) -> None:
    async def submit() -> str:
        async with AsyncClient(client.settings) as asynchronous:
            return (await asynchronous.submit(project, commands=["true"])).id

    with tracer.start_as_current_span("request") as request:
        job_id = asyncio.run(submit())
    traceparent = client._ledger.record(job_id).traceparent
    assert traceparent is not None
    assert f"{request.get_span_context().trace_id:032x}" in traceparent
    client._redis.zadd("revalid:dead", {job_id: 1})
    client._ledger.retry(job_id)
    assert client._ledger.record(job_id).traceparent == traceparent


def test_a_trace_does_not_change_a_jobs_id(client: Client, project: Path) -> None:
    plain = client.submit(project, commands=["true"])
    with tracer.start_as_current_span("request"):
        traced = client.submit(project, commands=["true"])
    assert traced.id == plain.id
    assert client._ledger.record(plain.id).traceparent is None


@pytest.mark.parametrize("exporter", ["otlp", "none"])
def test_configured_spans_are_sent_before_a_worker_ends(
    client: Client, start_worker: StartWorker, project: Path, exporter: str
) -> None:
    late = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_TRACES_EXPORTER": exporter}
    with spans_received() as spans:
        worker = start_worker(**{**spans.environ, **late})
        with tracer.start_as_current_span("request"):
            handle = client.submit(project, commands=["true"], sandbox="local")
        assert handle.result(30).verdict == "passed"
        worker.process.terminate()
        worker.process.wait(30)
    assert len(spans.by_name("attempt")) == (exporter == "otlp")
