"""A server that a command starts: found on its socket, asked, stopped, on both sandboxes."""

import asyncio

import pytest

from revalid.worker.sandboxes.protocol import ExecResult, Sandbox
from revalid.worker.serving import Probe, Serving, body_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SERVER = """
const http = require("http")
const [host, ...flags] = process.argv.slice(2)
if (flags.includes("deaf")) process.on("SIGTERM", () => {})
http.createServer((question, answer) => {
  if (flags.includes("slow")) { answer.write("first "); return }
  if (flags.includes("huge")) { answer.end("x".repeat(3000000)); return }
  if (flags.includes("broken")) { answer.writeHead(500); answer.end("no database"); return }
  const others = { "/": 500, "/health": 200 }
  if (flags.includes("healthy")) answer.statusCode = others[question.url] || 404
  answer.setHeader("content-type", "text/html")
  answer.end(`<p>hello\\u0007 ${question.url}`)
}).listen(Number(process.env.PORT || 0), host)
"""


async def _serve(
    sandbox: Sandbox, command: str, *, paths: tuple[str, ...] = ("/",), ready_s: float = 15.0
) -> tuple[ExecResult, Serving]:
    await sandbox.write_file("server.js", _SERVER)
    result = await sandbox.exec(command, probe=Probe(paths=paths, ready_s=ready_s))
    assert result.serving is not None
    return result, result.serving


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])  # noqa: S104
async def test_a_server_is_found_on_any_address_and_port(sandbox: Sandbox, host: str) -> None:
    result, serving = await _serve(sandbox, f"exec node server.js {host}")
    assert serving.ready_s is not None, result
    assert (serving.status, serving.path) == (200, "/")
    assert serving.port
    assert body_of(serving.response) == b"<p>hello\x07 /"
    assert not (serving.ended or serving.ignored_sigterm or result.timed_out)


async def test_a_health_path_that_is_there_decides(sandbox: Sandbox) -> None:
    paths = ("/healthz", "/health", "/")
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 healthy", paths=paths)
    assert (serving.status, serving.path) == (200, "/health")
    assert serving.ready_s is not None


async def test_a_server_that_answers_500_is_not_ready(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 broken", ready_s=6.0)
    assert (serving.ready_s, serving.status) == (None, 500)
    assert body_of(serving.response) == b"no database"


async def test_a_command_that_never_listens_is_ended(sandbox: Sandbox) -> None:
    result, serving = await _serve(sandbox, "echo waiting; exec sleep 60", ready_s=1.0)
    assert serving == Serving()
    assert result.stdout.head == b"waiting\n"
    assert not result.timed_out


async def test_a_command_that_ends_first_has_its_exit_code(sandbox: Sandbox) -> None:
    result, serving = await _serve(sandbox, "echo no config >&2; exit 3")
    assert (result.exit_code, serving.ended, serving.ready_s) == (3, True, None)
    assert result.stderr.head == b"no config\n"


async def test_a_server_that_forks_away_ends_with_its_command(sandbox: Sandbox) -> None:
    result, serving = await _serve(sandbox, "(sleep 1; exec node server.js 127.0.0.1) & exit 0")
    assert (result.exit_code, serving.ended, serving.ready_s) == (0, True, None)


async def test_a_server_that_ignores_sigterm_is_killed(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 deaf")
    assert serving.ignored_sigterm
    assert serving.ready_s is not None


async def test_a_body_without_end_is_cut(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 huge")
    assert serving.status == 200
    assert 1_000 < len(serving.response) <= 65_536


async def test_a_slow_body_does_not_delay_for_ever(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 slow")
    assert serving.status == 200
    assert body_of(serving.response) == b"first "


async def test_a_server_that_listened_before_is_not_asked(
    sandbox: Sandbox, unused_tcp_port: int
) -> None:
    if sandbox.kind == "dagger":
        pytest.skip("nothing of the project runs before a command in its container")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", unused_tcp_port)
    try:
        _, serving = await _serve(sandbox, "exec sleep 60", ready_s=1.0)
        assert serving.port is None
    finally:
        server.close()
