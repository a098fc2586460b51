"""Services beside a command: fresh for it, found by variables, gone after it."""

import shlex

import pytest

from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.protocol import Sandbox, Stream
from revalid.worker.services import NeededService
from tests.contract.checks import whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ASK = """
const net = require("net");
const [password, ...lines] = process.argv.slice(1);
const socket = net.connect(process.env.REDIS_PORT, process.env.REDIS_HOST);
socket.on("error", (error) => { console.log(error.code); process.exit(1); });
const auth = `AUTH ${password || process.env.REDIS_PASSWORD}`;
socket.write([auth, ...lines, "QUIT", ""].join("\\r\\n"));
socket.pipe(process.stdout);
"""


def words(stream: Stream) -> str:
    """Return a stream as text."""
    return whole(stream).decode()


def ask(*lines: str, password: str = "") -> str:
    """Return a command that sends lines to the Redis of its variables."""
    return f"node -e {shlex.quote(_ASK)} {shlex.join([password, *lines])}"


@pytest.fixture
def redis(sandbox: Sandbox) -> NeededService:
    if reason := sandbox.missing_service(ServiceKind.REDIS):
        pytest.skip(reason)
    return NeededService(ServiceKind.REDIS, "valkey/valkey:8-alpine")


async def test_a_service_is_there_and_fresh_for_each_command(
    sandbox: Sandbox, redis: NeededService
) -> None:
    first = await sandbox.exec(ask("INCR a"), services=[redis])
    second = await sandbox.exec(ask("INCR a"), services=[redis])
    assert words(first.stdout).split() == words(second.stdout).split() == ["+OK", ":1", "+OK"]


async def test_a_service_needs_its_password(sandbox: Sandbox, redis: NeededService) -> None:
    result = await sandbox.exec(ask("PING", password="guess"), services=[redis])
    assert "+PONG" not in words(result.stdout)
    assert "NOAUTH" in words(result.stdout)


async def test_files_stay_and_variables_of_the_service_go(
    sandbox: Sandbox, redis: NeededService
) -> None:
    sandbox.with_env("REDIS_DB", "5")
    await sandbox.exec("echo kept > file; echo $REDIS_DB", services=[redis])
    result = await sandbox.exec('cat file; echo "$REDIS_DB-$REDIS_HOST-"')
    assert words(result.stdout).split() == ["kept", "5--"]


async def test_a_variable_that_is_set_stays(sandbox: Sandbox, redis: NeededService) -> None:
    sandbox.with_env("REDIS_URL", "mine")
    result = await sandbox.exec("echo $REDIS_URL", services=[redis])
    assert words(result.stdout).strip() == "mine"


async def test_a_command_that_fails_ends_its_service_too(
    sandbox: Sandbox, redis: NeededService
) -> None:
    result = await sandbox.exec("echo $REDIS_HOST:$REDIS_PORT; exit 3", services=[redis])
    assert result.exit_code == 3
    host, port = words(result.stdout).strip().split(":")
    sandbox.with_envs({"REDIS_HOST": host, "REDIS_PORT": port})
    gone = await sandbox.exec(ask("PING"))
    assert gone.exit_code == 1
