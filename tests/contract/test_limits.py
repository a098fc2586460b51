"""Contract: a command above a limit is ended; its result names the limit and has its output."""

from dataclasses import replace

import pytest

from revalid.jobs.job import LimitName
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.protocol import Sandbox
from tests.contract.checks import new_token, output, sleeping, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 2**20
SMALL = CommandLimits(memory_bytes=128 * MIB, processes=48, disk_bytes=32 * MIB)

# Each takes at most four times its limit if nothing ends it.
HOG = """
const held = [];
const more = () => { if (held.length < 32) held.push(Buffer.alloc(16 << 20, 1)); };
setInterval(more, 50);
"""
BOMB = "n=0; while [ $n -lt 192 ]; do sleep {} & n=$((n + 1)); done; wait"
FILLER = "for n in 1 2 3 4 5 6 7 8; do head -c 16000000 /dev/zero >$n; sleep 1; done; sleep 60"


@pytest.mark.parametrize("limit", [LimitName.MEMORY, LimitName.PROCESSES, LimitName.DISK])
async def test_command_over_a_limit_is_ended(sandbox: Sandbox, limit: LimitName) -> None:
    token = new_token()
    await sandbox.write_file("hog.js", HOG)
    command = {
        LimitName.MEMORY: f"sleep {token} & node hog.js",
        LimitName.PROCESSES: BOMB.format(token),
        LimitName.DISK: f"sleep {token} & {FILLER}",
    }[limit]
    result = await sandbox.exec(f"echo before; {command}", limits=SMALL, timeout_s=60)
    assert (result.limit_exceeded, result.timed_out) == (limit, False)
    assert result.exit_code == 137
    assert whole(result.stdout) == b"before\n"
    assert not await sleeping(sandbox, token)
    assert await output(sandbox, "echo on") == "on\n"


async def test_threads_count(sandbox: Sandbox) -> None:
    script = "require('fs').stat('.', () => setTimeout(() => {}, 60000))"
    command = f'export UV_THREADPOOL_SIZE=1024; node -e "{script}" & node -e "{script}" & wait'
    limits = replace(SMALL, memory_bytes=2**30)
    result = await sandbox.exec(f"echo before; {command}", limits=limits, timeout_s=30)
    assert (result.limit_exceeded, result.timed_out) == (LimitName.PROCESSES, False)
    assert whole(result.stdout) == b"before\n"


async def test_memory_of_all_processes_counts(sandbox: Sandbox) -> None:
    await sandbox.write_file(
        "half.js", "const b = Buffer.alloc(60 << 20, 1); setInterval(() => b, 9)"
    )
    command = "node half.js & node half.js & node half.js & wait"
    result = await sandbox.exec(command, limits=SMALL, timeout_s=60)
    assert result.limit_exceeded is LimitName.MEMORY


async def test_memory_of_an_untraceable_process_counts(sandbox: Sandbox) -> None:
    await sandbox.write_file("hog.js", HOG)
    command = 'cp "$(readlink -f "$(command -v node)")" own && chmod 111 own && ./own hog.js'
    result = await sandbox.exec(command, limits=replace(SMALL, disk_bytes=2**30), timeout_s=60)
    assert result.limit_exceeded is LimitName.MEMORY


async def test_disk_of_downloads_counts(sandbox: Sandbox) -> None:
    enter = "cd ${npm_config_cache:-~}"
    command = f'{enter}; trap "rm -f ?" TERM; {FILLER}'
    result = await sandbox.exec(command, limits=SMALL, timeout_s=30, downloads=True)
    assert result.limit_exceeded is LimitName.DISK
    await sandbox.exec(f"{enter}; rm -f ?", downloads=True)


async def test_processor_time(sandbox: Sandbox) -> None:
    result = await sandbox.exec(
        "echo before; while :; do :; done", limits=CommandLimits(cpu_s=1), timeout_s=60
    )
    assert (result.limit_exceeded, result.exit_code) == (LimitName.CPU, 152)
    assert whole(result.stdout) == b"before\n"


async def test_one_file_is_never_larger_than_the_limit(sandbox: Sandbox) -> None:
    result = await sandbox.exec(
        "head -c 100000000 /dev/zero >file", limits=CommandLimits(disk_bytes=4 * MIB)
    )
    assert (result.limit_exceeded, result.exit_code) == (LimitName.DISK, 153)
    assert await output(sandbox, "wc -c <file") == f"{4 * MIB}\n"


@pytest.mark.parametrize("code", [137, 152, 153])
async def test_exit_code_alone_reports_no_limit(sandbox: Sandbox, code: int) -> None:
    result = await sandbox.exec(f"exit {code}")
    assert (result.exit_code, result.limit_exceeded) == (code, None)


async def test_command_within_its_limits_is_left_alone(sandbox: Sandbox) -> None:
    await sandbox.write_file(
        "ok.js", "const b = Buffer.alloc(48 << 20, 1); setTimeout(() => b, 900)"
    )
    result = await sandbox.exec(
        "head -c 8000000 /dev/zero >file; sleep 1 & sleep 1 & node ok.js && wait", limits=SMALL
    )
    assert (result.exit_code, result.limit_exceeded) == (0, None), result
