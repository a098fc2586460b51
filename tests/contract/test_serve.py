"""A server that a command starts: found on its socket, asked, stopped, on both sandboxes."""

import asyncio
from typing import Any

import pytest

from revalid.worker.sandboxes.protocol import ExecResult, Sandbox
from revalid.worker.serving import Probe, Serving, body_of, other_protocol

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SERVER = """
const http = require("http")
const [host, ...flags] = process.argv.slice(2)
if (flags.includes("deaf")) process.on("SIGTERM", () => {})
http.createServer((question, answer) => {
  if (flags.includes("slow")) { answer.write("first "); return }
  if (flags.includes("huge")) { answer.end("x".repeat(3000000)); return }
  if (flags.includes("broken")) { answer.writeHead(500); answer.end("no database"); return }
  if (flags.includes("brief")) setTimeout(() => process.exit(0), 200)
  if (flags.includes("dev")) {
    if (question.url === "/src/main.tsx") answer.statusCode = 500
    answer.end('<script type="module" src="/src/main.tsx"></script>')
    return
  }
  const others = { "/": 500, "/health": 200 }
  if (flags.includes("healthy")) answer.statusCode = others[question.url] || 404
  answer.setHeader("content-type", "text/html")
  answer.end(`<p>hello\\u0007 ${question.url}`)
}).listen(Number(process.env.PORT || 0), host)
"""


_OTHERS = """
const net = require("net"), tls = require("tls")
const banner = Buffer.from([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0])
const servers = {
  tls: () => tls.createServer({}, () => {}),
  grpc: () => net.createServer(socket => socket.on("error", () => {}).write(banner)),
  chat: () => net.createServer(socket => socket.on("error", () => {}).write("220 hello\\r\\n")),
  mute: () => net.createServer(() => {}),
}
const server = servers[process.argv[2]]()
server.on("error", () => {}).on("tlsClientError", () => {}).listen(0, "127.0.0.1")
"""


async def _serve(
    sandbox: Sandbox, command: str, *, ready_s: float = 15.0, **asked: Any
) -> tuple[ExecResult, Serving]:
    await sandbox.write_file("server.js", _SERVER)
    result = await sandbox.exec(command, probe=Probe(ready_s=ready_s, **asked))
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


async def test_a_page_must_be_there_where_one_is_expected(sandbox: Sandbox) -> None:
    command = "exec node server.js 127.0.0.1 healthy"
    _, serving = await _serve(sandbox, command, paths=("/no",), pages=True, ready_s=3.0)
    assert (serving.ready_s, serving.status, serving.path) == (None, 404, "/no")


async def test_a_page_whose_script_does_not_compile_is_not_ready(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 dev", ready_s=3.0)
    assert (serving.ready_s, serving.status, serving.path) == (None, 500, "/src/main.tsx")


async def test_a_server_that_ends_after_its_answer_did_not_start(sandbox: Sandbox) -> None:
    result, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 brief")
    assert (serving.ready_s, serving.ended, serving.status) == (None, True, 200)
    assert result.exit_code == 0


@pytest.mark.slow
async def test_a_server_that_starts_again_and_again_is_not_ready(sandbox: Sandbox) -> None:
    loop = "export PORT=${PORT:-3000}; while :; do node server.js 127.0.0.1 brief; done"
    _, serving = await _serve(sandbox, loop, ready_s=6.0)
    assert (serving.ready_s, serving.ended, serving.status) == (None, False, 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind_of_server", "protocol"),
    [("tls", "TLS"), ("grpc", "HTTP/2"), ("chat", "no HTTP"), ("mute", None)],
)
async def test_another_protocol_is_told(
    sandbox: Sandbox, kind_of_server: str, protocol: str | None
) -> None:
    await sandbox.write_file("other.js", _OTHERS)
    # nc waits for its own side too before the next question.
    ready_s = 10.0 if (sandbox.kind, kind_of_server) == ("dagger", "tls") else 3.0
    _, serving = await _serve(sandbox, f"exec node other.js {kind_of_server}", ready_s=ready_s)
    assert serving.port is not None
    assert (serving.ready_s, other_protocol(serving)) == (None, protocol)


async def test_the_setup_runs_before_by_itself(sandbox: Sandbox) -> None:
    command = "cat made; exec node server.js 127.0.0.1"
    result, serving = await _serve(sandbox, command, setup="sleep 1; echo schema >made; echo did")
    assert serving.ready_s is not None
    assert result.setup is not None
    assert result.setup.duration_s >= 1
    assert (result.setup.stdout.head, result.stdout.head) == (b"did\n", b"schema\n")


async def test_a_setup_that_fails_is_all_that_runs(sandbox: Sandbox) -> None:
    result, serving = await _serve(sandbox, "echo no", setup="echo no table >&2; exit 4")
    assert serving == Serving(setup_failed=True)
    assert (result.exit_code, result.stdout.head) == (4, b"")
    assert result.stderr.head == b"no table\n"


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


@pytest.mark.slow
async def test_a_server_that_ignores_sigterm_is_killed(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 deaf")
    assert serving.ignored_sigterm
    assert serving.ready_s is not None


async def test_a_body_without_end_is_cut(sandbox: Sandbox) -> None:
    _, serving = await _serve(sandbox, "exec node server.js 127.0.0.1 huge")
    assert serving.status == 200
    assert 1_000 < len(serving.response) <= 65_536


@pytest.mark.slow
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
