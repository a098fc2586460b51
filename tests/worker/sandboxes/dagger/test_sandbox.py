"""Behaviour of the Dagger sandbox alone, on a real engine."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
import pytest_asyncio

from revalid.jobs.job import DEFAULT_IMAGE
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.sandboxes.protocol import ExecResult
from revalid.worker.secrets import name_key
from tests.contract.checks import whole

pytestmark = [pytest.mark.dagger, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(dagger_engine: Engine) -> AsyncIterator[DaggerSandbox]:
    """Yield a new sandbox."""
    sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE)
    yield sandbox
    await sandbox.close()


async def test_command_always_runs_unless_it_is_cacheable(sandbox: DaggerSandbox) -> None:
    command = f"cat /proc/sys/kernel/random/uuid # {uuid.uuid4()}"
    fork = await sandbox.fork()
    first, second = await sandbox.exec(command), await fork.exec(command)
    assert not first.cached
    assert not second.cached
    assert whole(first.stdout) != whole(second.stdout)


async def test_cacheable_command_is_replayed_on_identical_files(sandbox: DaggerSandbox) -> None:
    command = f"cat /proc/sys/kernel/random/uuid # {uuid.uuid4()}"
    fork, changed = await sandbox.fork(), await sandbox.fork()
    first = await sandbox.exec(command, cacheable=True)
    again = await fork.exec(command, cacheable=True)
    assert (first.cached, again.cached) == (False, True)
    assert whole(first.stdout) == whole(again.stdout)
    await changed.write_file("other", "x")
    assert not (await changed.exec(command, cacheable=True)).cached


async def test_parallel_forks_each_receive_their_own_output(sandbox: DaggerSandbox) -> None:
    forks = [await sandbox.fork() for _ in range(6)]
    received = [b""] * len(forks)

    async def run(number: int) -> ExecResult:
        def listen(_: str, data: bytes) -> None:
            received[number] += data

        return await forks[number].exec(
            f"echo {number}; sleep 1; echo {uuid.uuid4()}; exit {number}", on_output=listen
        )

    results = await asyncio.gather(*map(run, range(len(forks))))
    assert [result.exit_code for result in results] == list(range(len(forks)))
    assert received == [whole(result.stdout) for result in results]
    assert not any(result.cached for result in results)


async def test_failure_is_never_replayed(sandbox: DaggerSandbox) -> None:
    command = f"cat /proc/sys/kernel/random/uuid; exit 1 # {uuid.uuid4()}"
    fork = await sandbox.fork()
    first = await sandbox.exec(command, cacheable=True)
    again = await fork.exec(command, cacheable=True)
    assert not again.cached
    assert whole(first.stdout) != whole(again.stdout)


async def test_replay_distinguishes_secrets(sandbox: DaggerSandbox) -> None:
    command = f'echo "$TOKEN" # {uuid.uuid4()}'
    printed = []
    for value in ("first-value", "second-value"):
        fork = await sandbox.fork()
        fork.with_secret("TOKEN", value)
        printed.append(whole((await fork.exec(command, cacheable=True)).stdout))
    assert printed == [b"first-value\n", b"second-value\n"]


async def test_command_that_kills_everything_keeps_its_output(sandbox: DaggerSandbox) -> None:
    result = await sandbox.exec("echo before; sleep 0.3; kill -9 -1 1 $PPID; kill -9 $$")
    assert (result.exit_code, result.timed_out) == (137, False)
    assert whole(result.stdout) == b"before\n"
    assert (await sandbox.exec("echo on")).exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        "rm -rf /.revalid /.revalid-tools /bin/mkdir",
        "rm -rf /.revalid; ln -s /none /.revalid",
        "rm -rf /.revalid; ln -s / /.revalid",
        "mkdir /.revalid/report",
        "echo 0 >/.revalid/report; chmod 000 /.revalid/report; echo x >/.revalid/status",
    ],
)
async def test_command_that_damages_the_report_has_its_own_exit_code(
    sandbox: DaggerSandbox, change: str
) -> None:
    assert (await sandbox.exec(f"{change}; exit 7")).exit_code == 7
    assert (await sandbox.exec("echo on")).exit_code == 0


async def test_wrapper_leaves_no_variable_or_file(sandbox: DaggerSandbox) -> None:
    result = await sandbox.exec("env | grep REVALID; ls -A /workspace")
    assert whole(result.stdout) == b""


@pytest.mark.parametrize("variable", ["npm_config_cache", "REVALID_GO_DOWNLOADS"])
async def test_installs_of_one_tenant_share_downloads_that_checks_do_not_see(
    dagger_engine: Engine, variable: str
) -> None:
    def opened(tenant: str) -> Awaitable[DaggerSandbox]:
        return DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE, tenant=tenant)

    tenant, path = uuid.uuid4().hex, f"${variable}/kept"
    first, second, other = await opened(tenant), await opened(tenant), await opened("x" + tenant)
    assert (await first.exec(f"echo one > {path}", downloads=True)).exit_code == 0
    assert (await first.exec(f"test -e {path}")).exit_code == 1
    assert whole((await second.exec(f"cat {path}", downloads=True)).stdout) == b"one\n"
    assert (await other.exec(f"test -e {path}", downloads=True)).exit_code == 1
    for sandbox in (first, second, other):
        await sandbox.close()


async def test_downloads_are_mounted_over_no_place_that_a_command_chose(
    dagger_engine: Engine,
) -> None:
    places = ".npm .bun/install/cache .cache/pip .cache/uv"
    link = f"""
cd; for place in {places} $npm_config_cache $PIP_CACHE_DIR; do
  rm -rf "$place" || true
  mkdir -p "$(dirname "$place")"; ln -sfn /.revalid-tools "$place" || true
done
"""
    sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE, tenant=uuid.uuid4().hex)
    assert (await sandbox.exec(link)).exit_code == 0
    install = await sandbox.exec("id -u; grep -c /.revalid-tools /proc/mounts", downloads=True)
    assert whole(install.stdout) == b"1000\n1\n", install
    await sandbox.close()


async def test_install_is_replayed_after_other_downloads(
    dagger_engine: Engine,
) -> None:
    command = f"cat /proc/sys/kernel/random/uuid # {uuid.uuid4()}"
    tenant = uuid.uuid4().hex
    results = []
    for filled in ("true", "touch $npm_config_cache/more"):
        sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE, tenant=tenant)
        fork = await sandbox.fork()
        await fork.exec(filled, downloads=True)
        results.append(await sandbox.exec(command, cacheable=True, downloads=True))
        await fork.close()
        await sandbox.close()
    assert [result.cached for result in results] == [False, True]


async def test_install_with_a_secret_is_replayed_by_all_processes_of_a_home(
    dagger_engine: Engine, tmp_path: Path
) -> None:
    command = f'echo "$TOKEN" # {uuid.uuid4()}'
    results = []
    for value in ("first-value", "first-value", "second-value"):
        engine = Engine(timeout_s=30, name_key=name_key(tmp_path))
        sandbox = await DaggerSandbox.open(engine, DEFAULT_IMAGE)
        sandbox.with_secret("TOKEN", value)
        results.append(await sandbox.exec(command, cacheable=True))
        await sandbox.close()
        await engine.close()
    assert [(whole(result.stdout), result.cached) for result in results] == [
        (b"first-value\n", False),
        (b"first-value\n", True),
        (b"second-value\n", False),
    ]


async def test_command_that_requests_its_own_stop_is_not_cancelled(sandbox: DaggerSandbox) -> None:
    result = await sandbox.exec(
        "nonce=$(tr '\\0' '\\n' </proc/1/cmdline | grep -E '^[0-9a-f]{32}$')\n"
        "echo 100 >/.revalid-stop/$nonce; sleep 2; exit 5",
        stop=asyncio.Event(),
    )
    assert not result.cancelled
    assert result.exit_code != 0


async def test_stopped_install_is_not_replayed(sandbox: DaggerSandbox) -> None:
    stop = asyncio.Event()
    fork = await sandbox.fork()
    token = uuid.uuid4().hex
    command = (
        f"trap 'exit 0' TERM; echo {token}; n=0; until [ $n = 8 ]; do sleep 0.5; n=$((n+1)); done"
    )
    first = await sandbox.exec(command, cacheable=True, on_output=lambda *_: stop.set(), stop=stop)
    assert (first.cancelled, first.exit_code) == (True, 0)
    again = await fork.exec(command, cacheable=True)
    assert (again.cached, again.cancelled, again.exit_code) == (False, False, 0)


async def test_an_image_is_built_from_the_workspace(sandbox: DaggerSandbox) -> None:
    lines = f"FROM {DEFAULT_IMAGE}\nCOPY made /made\nRUN cat /made >&2; exit "
    await sandbox.write_files({"made": "here\n", "good": f"{lines}0", "bad": f"{lines}3"})
    good = await sandbox.build_image("good", timeout_s=120)
    bad = await sandbox.build_image("bad", timeout_s=120, output_bytes=2)
    assert (good.exit_code, good.stdout.size, good.stderr.size) == (0, 0, 0)
    assert (bad.exit_code, bad.stderr.head, bad.stderr.tail) == (3, b"h", b"e")
    late = await sandbox.build_image("none", timeout_s=0)
    assert (late.exit_code, late.timed_out) == (124, True)
    unknown = await sandbox.build_image("none", timeout_s=120)
    assert (unknown.exit_code, unknown.timed_out) == (1, False)
    assert b"none" in unknown.stderr.head
