"""Contract: no process of a command outlives it."""

import asyncio

import pytest

from revalid.worker.sandboxes.protocol import Sandbox
from tests.contract.checks import new_token, output, sleeping, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_timeout_ends_the_whole_tree_and_keeps_the_output(sandbox: Sandbox) -> None:
    token = new_token()
    result = await sandbox.exec(
        f"""
        echo shell
        sh -c 'sleep {token} & echo child; wait' &
        sh -c 'sh -c "echo grandchild; sleep {token}; true"; true' &
        setsid sh -c 'echo moved; sleep {token}; true' &
        (setsid sh -c 'echo orphan; sleep {token}; true' &)
        echo error >&2
        wait
        """,
        timeout_s=2,
    )
    assert result.timed_out
    printed = set(whole(result.stdout).split())
    assert printed == {b"shell", b"child", b"grandchild", b"moved", b"orphan"}
    assert whole(result.stderr).startswith(b"error\n")
    assert not await sleeping(sandbox, token)


@pytest.mark.usefixtures("short_grace")
async def test_timeout_ends_a_command_that_ignores_sigterm(sandbox: Sandbox) -> None:
    token = new_token()
    result = await sandbox.exec(
        f"trap '' TERM; echo armed; while :; do sleep {token}; done", timeout_s=1
    )
    assert result.timed_out
    assert whole(result.stdout) == b"armed\n"
    assert not await sleeping(sandbox, token)


async def test_timeout_lets_a_command_end_itself(sandbox: Sandbox) -> None:
    result = await sandbox.exec(
        "trap 'echo cleaned; exit 0' TERM; echo up; while :; do sleep 0.05; done", timeout_s=1
    )
    assert result.timed_out
    assert whole(result.stdout) == b"up\ncleaned\n"


async def test_daemon_left_behind_is_ended(sandbox: Sandbox) -> None:
    token = new_token()
    result = await sandbox.exec(
        f"(setsid sh -c 'echo up; : > up; sleep {token}; true' &)\n"
        f"sleep {token} &\n"
        "while [ ! -e up ]; do :; done"
    )
    assert (result.exit_code, result.timed_out) == (0, False)
    assert whole(result.stdout) == b"up\n"
    assert not await sleeping(sandbox, token)


async def test_sleeping_process_would_be_detected(sandbox: Sandbox) -> None:
    token = new_token()
    printed = await output(
        sandbox,
        f"sleep {token} &\n"
        f"until cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q 'sleep {token}'\n"
        "do :; done; echo seen",
    )
    assert printed == "seen\n"


async def test_exec_works_after_a_timeout(sandbox: Sandbox) -> None:
    await sandbox.write_file("before", "kept")
    assert (await sandbox.exec("sleep 100", timeout_s=0.2)).timed_out
    assert await output(sandbox, "cat before") == "kept"


async def test_stop_lets_a_command_end_itself_and_keeps_its_output(sandbox: Sandbox) -> None:
    stop, token = asyncio.Event(), new_token()
    result = await sandbox.exec(
        f"""
        (setsid sh -c 'sleep {token}; true' &)
        trap 'echo cleaned; exit 3' TERM
        seq 1 20000
        echo up >&2
        while :; do sleep 0.05; done
        """,
        on_output=lambda stream, _: stop.set() if stream == "stderr" else None,
        stop=stop,
    )
    assert (result.exit_code, result.cancelled, result.timed_out) == (3, True, False)
    assert whole(result.stdout) == b"".join(b"%d\n" % n for n in range(1, 20_001)) + b"cleaned\n"
    assert whole(result.stderr).startswith(b"up\n")
    assert result.duration_s > 0
    assert not await sleeping(sandbox, token)


@pytest.mark.usefixtures("short_grace")
async def test_stop_ends_a_command_that_ignores_sigterm(sandbox: Sandbox) -> None:
    stop, token = asyncio.Event(), new_token()
    result = await sandbox.exec(
        f"trap '' TERM; echo armed; while :; do sleep {token}; done",
        on_output=lambda *_: stop.set(),
        stop=stop,
    )
    assert result.cancelled
    assert whole(result.stdout) == b"armed\n"
    assert not await sleeping(sandbox, token)


async def test_exec_works_after_a_cancellation(sandbox: Sandbox) -> None:
    token = new_token()
    await sandbox.write_file("before", "kept")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await sandbox.exec(f"(setsid sleep {token} &)\nsleep {token}")
    assert not await sleeping(sandbox, token)
    assert await output(sandbox, "cat before") == "kept"
