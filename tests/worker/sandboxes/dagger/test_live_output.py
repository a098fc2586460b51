"""The receiver of live output, with requests as an engine's session process would send them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from revalid.worker.sandboxes.dagger.live_output import LogReceiver, OutputRelay
from revalid.worker.sandboxes.protocol import ExecResult, Stream

Pieces = list[tuple[str, bytes]]


@pytest.fixture
def pieces() -> Pieces:
    """Return the pieces that the listener got."""
    return []


@pytest.fixture
def relay(pieces: Pieces) -> OutputRelay:
    """Return the relay of a command that has a listener."""
    return OutputRelay(lambda *piece: pieces.append(piece), 1_000)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[LogReceiver]:
    """Yield a receiver that does not listen yet."""
    receiver = LogReceiver()
    yield receiver
    await receiver.close()


def frame(nonce: str, stream: str, start: int, piece: bytes) -> str:
    return f"{nonce} {stream} {start} {base64.b64encode(piece).decode()}\n"


async def post(url: str, *texts: str, span: bytes = b"12345678") -> int:
    """Send log records of one span, each with one of the texts; returns the status."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for text in texts:
        records.add(span_id=span).body.string_value = text
    return await send(url, request.SerializeToString())


async def send(url: str, body: bytes) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: here\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readline()
    writer.close()
    return int(answer.split()[1]) if answer else 0


def result(out: bytes, err: bytes = b"") -> ExecResult:
    return ExecResult(0, Stream(out, b"", len(out)), Stream(err, b"", len(err)), 0.0)


async def test_pieces_are_relayed_once_and_in_order(
    receiver: LogReceiver, relay: OutputRelay, pieces: Pieces
) -> None:
    url = (await receiver.open())["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
    with receiver.subscribe(relay) as (nonce, most):
        assert most == 2_000
        first = frame(nonce, "out", 0, b"one")
        await post(url, first, first, "Pulling an image", frame(nonce, "out", 7, b"gap"))
        await post(url, frame("another", "out", 3, b"no") + frame(nonce, "err", 0, b"two"))
    await post(url, frame(nonce, "out", 3, b"late"))
    assert pieces == [("stdout", b"one"), ("stderr", b"two")]
    relay.finish(result(b"one and more", b"two"))
    assert pieces[2:] == [("stdout", b" and more")]


async def test_interleaved_pieces_of_lines_are_joined(
    receiver: LogReceiver, relay: OutputRelay, pieces: Pieces
) -> None:
    url = (await receiver.open())["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
    with receiver.subscribe(relay) as (nonce, _):
        line = frame(nonce, "out", 0, b"whole")
        await post(url, line[:40], span=b"one")
        await post(url, line[:10], span=b"two")
        await post(url, line[40:], span=b"one")
    assert pieces == [("stdout", b"whole")]


@pytest.mark.parametrize("line", ["{} out 0 %%%%\n", "{} out x YQ==\n", "{}\n", "{} in 0 YQ==\n"])
async def test_malformed_lines_are_left_out(
    receiver: LogReceiver, relay: OutputRelay, pieces: Pieces, line: str
) -> None:
    url = (await receiver.open())["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
    with receiver.subscribe(relay) as (nonce, _):
        assert await post(url, line.format(nonce), frame(nonce, "out", 0, b"a")) == 200
    assert pieces == [("stdout", b"a")]


async def test_unknown_paths_and_oversized_requests_are_refused(
    receiver: LogReceiver, relay: OutputRelay
) -> None:
    url = (await receiver.open())["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
    with receiver.subscribe(relay):
        assert await post(url + "x", "text") == 413
        assert await send(url, b"\xff no protobuf") == 0
        assert await send(url, b"x" * 5_000_000) == 413
        assert await post(url, "text") == 200


async def test_no_more_is_relayed_than_is_kept(
    receiver: LogReceiver, relay: OutputRelay, pieces: Pieces
) -> None:
    url = (await receiver.open())["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"]
    with receiver.subscribe(relay) as (nonce, _):
        await post(url, frame(nonce, "out", 0, b"x" * 900), frame(nonce, "out", 900, b"x" * 900))
    assert sum(len(piece) for _, piece in pieces) == 1_000


@pytest.mark.parametrize(
    ("head", "rest"), [(b"abc", b"c"), (b"ab", b""), (b"a", b""), (b"other", b"other")]
)
def test_finish_sends_missing_output_and_corrects_forged_output(
    relay: OutputRelay, pieces: Pieces, head: bytes, rest: bytes
) -> None:
    relay.add("stdout", 0, b"ab")
    relay.finish(result(head))
    assert pieces[1:] == ([("stdout", rest)] if rest else [])


async def test_the_wrapper_prints_nothing_without_a_receiver_or_a_listener(
    receiver: LogReceiver, relay: OutputRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver.subscribe(relay) as (_, most):
        assert most == 0
    monkeypatch.setenv("DAGGER_CLOUD_TOKEN", "token")
    assert await receiver.open() == {}
    monkeypatch.delenv("DAGGER_CLOUD_TOKEN")
    await receiver.open()
    with receiver.subscribe(OutputRelay(None, 1_000)) as (_, most):
        assert most == 0
