"""Contract: running of commands, and their output."""

import asyncio
from typing import Literal

import pytest

from revalid.worker.sandboxes.protocol import Sandbox
from tests.contract.checks import output, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("exit 3", 3),
        (": > plain; ./plain", 126),
        ("revalid-no-such-command", 127),
        ("exit 130", 130),
        ("exit 150", 150),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
        ("set -e; false; true", 1),
        ("true &&", 2),
        ("true ) || true", 2),
    ],
)
async def test_exit_code_is_a_result(sandbox: Sandbox, command: str, code: int) -> None:
    result = await sandbox.exec(command)
    assert (result.exit_code, result.timed_out) == (code, False)


async def test_failing_command_keeps_its_output(sandbox: Sandbox) -> None:
    result = await sandbox.exec("echo out; echo err >&2; kill -9 $$")
    assert result.exit_code == 137
    assert (whole(result.stdout), whole(result.stderr)) == (b"out\n", b"err\n")


async def test_stdout_and_stderr_are_separate(sandbox: Sandbox) -> None:
    result = await sandbox.exec("echo a; echo b >&2; echo c; echo d >&2")
    assert (whole(result.stdout), whole(result.stderr)) == (b"a\nc\n", b"b\nd\n")


async def test_reopening_a_stream_loses_nothing(sandbox: Sandbox) -> None:
    result = await sandbox.exec(
        "echo a; echo b >/dev/stdout; echo c; echo d >&2; echo e | tee /dev/stderr >&2"
    )
    assert whole(result.stdout) == b"a\nb\nc\n"
    assert whole(result.stderr) == b"d\ne\ne\n"


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("printf 'a\\nb\\n' | grep -c .", "2\n"),
        ('X=\'q "r" $HOME\'\n\necho "$X"', 'q "r" $HOME\n'),
        ("echo it\\'s", "it's\n"),
        ("# first a comment\necho hi # and one at the end", "hi\n"),
        ("cat <<'END'\n$not `expanded`\nEND", "$not `expanded`\n"),
        ("echo one && false || echo two; (exit 4); echo $?", "one\ntwo\n4\n"),
        ("exec echo replaced", "replaced\n"),
        ("exit 0; echo never", ""),
        ("  echo indented\n", "indented\n"),
        ("echo 'snö ☃'", "snö ☃\n"),
        ("echo \\\ncontinued", "continued\n"),
    ],
)
async def test_shell_semantics(sandbox: Sandbox, command: str, printed: str) -> None:
    assert await output(sandbox, command) == printed


async def test_standard_input_is_empty(sandbox: Sandbox) -> None:
    assert await output(sandbox, "cat; echo end") == "end\n"


async def test_output_bytes_are_not_changed(sandbox: Sandbox) -> None:
    result = await sandbox.exec("printf '\\377\\376\\000\\001\\r\\n'; printf '\\200' >&2")
    assert whole(result.stdout) == b"\xff\xfe\x00\x01\r\n"
    assert whole(result.stderr) == b"\x80"


async def test_long_output_keeps_head_tail_and_size(sandbox: Sandbox) -> None:
    printed = "".join(f"{number}\n" for number in range(1, 50_001)).encode()
    result = await sandbox.exec("seq 1 50000; seq 1 50000 >&2", output_bytes=1001)
    for stream in (result.stdout, result.stderr):
        assert stream.truncated
        assert stream.size == len(printed)
        assert len(stream.head + stream.tail) == 1001
        assert abs(len(stream.head) - len(stream.tail)) <= 1
        assert printed.startswith(stream.head)
        assert printed.endswith(stream.tail)


async def test_output_of_exactly_the_cap_is_whole(sandbox: Sandbox) -> None:
    result = await sandbox.exec("printf 0123456789; printf 01234567890 >&2", output_bytes=10)
    assert whole(result.stdout) == b"0123456789"
    assert (result.stderr.truncated, result.stderr.size) == (True, 11)


async def test_huge_output_has_its_true_size(sandbox: Sandbox) -> None:
    result = await sandbox.exec("head -c 100000000 /dev/zero; echo end")
    assert result.exit_code == 0
    assert result.stdout.size == 100_000_004
    assert result.stdout.tail.endswith(b"\0end\n")


async def test_listener_gets_a_prefix_within_the_cap(sandbox: Sandbox) -> None:
    received: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def listen(name: Literal["stdout", "stderr"], data: bytes) -> None:
        received[name] += data

    printed = "".join(f"{number}\n" for number in range(1, 10_001)).encode()
    await sandbox.exec("seq 1 10000; echo err >&2", output_bytes=1000, on_output=listen)
    assert printed[:1000].startswith(received["stdout"])
    assert b"err\n".startswith(received["stderr"])


async def test_listener_gets_output_while_the_command_runs(sandbox: Sandbox) -> None:
    received: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    command = "echo out; echo err >&2; sleep 60; echo late"
    running = asyncio.create_task(
        sandbox.exec(command, on_output=lambda *piece: received.put_nowait(piece))
    )
    pieces = {
        await asyncio.wait_for(received.get(), 30),
        await asyncio.wait_for(received.get(), 30),
    }
    assert pieces == {("stdout", b"out\n"), ("stderr", b"err\n")}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert received.empty()


async def test_listener_gets_the_whole_output_once(sandbox: Sandbox) -> None:
    received: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def listen(name: Literal["stdout", "stderr"], data: bytes) -> None:
        received[name] += data

    sandbox.with_secret(
        "TOKEN", "4123\n4124"
    )  # the engine searches for secrets and sends output in pieces
    command = (
        "seq 9000; printf '\\377\\000\\n' >&2; sleep 1; echo $TOKEN; echo err >&2; sleep 1; seq 9"
    )
    result = await sandbox.exec(command, on_output=listen)
    assert received == {"stdout": whole(result.stdout), "stderr": b"\xff\x00\nerr\n"}


async def test_files_of_a_command_stay(sandbox: Sandbox) -> None:
    await sandbox.exec("mkdir made && echo kept > made/file; exit 9")
    assert await sandbox.read_file("made/file") == b"kept\n"
