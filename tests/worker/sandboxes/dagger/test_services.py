"""Services of the engine beside a command, on a real engine."""

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from revalid.jobs.errors import InvalidJob, SandboxLost
from revalid.jobs.job import DEFAULT_IMAGE
from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.dagger import services
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.sandboxes.dagger.services import running
from revalid.worker.services import NeededService

VALKEY = "valkey/valkey:8-alpine"
HOLD = """
import asyncio
from revalid.jobs.job import DEFAULT_IMAGE
from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.services import NeededService

async def main():
    engine = Engine(timeout_s=60)
    sandbox = await DaggerSandbox.open(engine, DEFAULT_IMAGE)
    await sandbox.exec(
        "node -e 'require(\\"dns\\").lookup(\\"redis\\", (e, a) => console.log(a))'; sleep 300",
        services=[NeededService(ServiceKind.REDIS, "valkey/valkey:8-alpine")],
        on_output=lambda _, data: print(data.decode(), end="", flush=True),
    )

asyncio.run(main())
"""

pytestmark = [pytest.mark.dagger, pytest.mark.asyncio(loop_scope="session")]


async def test_an_image_that_no_registry_knows_is_the_jobs_mistake(dagger_engine: Engine) -> None:
    unknown = NeededService(ServiceKind.REDIS, "valkey/no-such-image:1")
    with pytest.raises(InvalidJob, match=r"service redis: .*valkey/no-such-image:1.*--service"):
        async with running(dagger_engine, [unknown]):
            pass


async def test_a_server_that_ends_at_once_is_told(dagger_engine: Engine) -> None:
    other = NeededService(ServiceKind.POSTGRES, DEFAULT_IMAGE)  # node ends without an input
    with pytest.raises(SandboxLost, match=r"service postgres .* did not start"):
        async with running(dagger_engine, [other]):
            pass


async def test_the_log_of_a_server_that_fails_is_kept(
    dagger_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeededService, "environment", lambda _: {})
    refuses = NeededService(ServiceKind.POSTGRES, "postgres:17-alpine")  # for it has no password
    with pytest.raises(SandboxLost, match=r"its log ends with: .*POSTGRES_PASSWORD"):
        async with running(dagger_engine, [refuses]):
            pass


async def test_a_server_that_never_listens_is_our_failure(
    dagger_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "START_TIMEOUT_S", 5.0)
    deaf = NeededService(ServiceKind.MONGODB, VALKEY)  # it listens on another port
    with pytest.raises(SandboxLost, match=r"service mongodb .* was not ready within 5 s"):
        async with running(dagger_engine, [deaf]):
            pass


async def test_a_service_has_the_host_names_of_the_project(dagger_engine: Engine) -> None:
    needed = NeededService(ServiceKind.REDIS, VALKEY, hosts=("cache", "main_cache"))
    sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE)
    command = "for host in redis cache main_cache; do nc -z $host 6379 || exit 1; done"
    result = await sandbox.exec(command, services=[needed])
    await sandbox.close()
    assert result.exit_code == 0, result.stderr


async def test_a_killed_worker_leaves_no_service_and_other_jobs_do_not_get_in(
    dagger_engine: Engine,
) -> None:
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, stdout=PIPE)
    assert worker.stdout is not None
    line = await asyncio.wait_for(worker.stdout.readline(), 120)
    address = line.decode().strip()
    other = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE)
    for guess in ("", "AUTH redis", "AUTH app", "AUTH password"):
        ask = f"printf '{guess}\\r\\nPING\\r\\nQUIT\\r\\n' | nc -w 5 {address} 6379"
        answers = (await other.exec(ask)).stdout.head.decode()
        assert "NOAUTH" in answers
        assert "PONG" not in answers
    worker.kill()
    await worker.wait()
    gone = f"for i in $(seq 120); do nc -z -w 1 {address} 6379 || exit 0; sleep 0.5; done; exit 1"
    result = await other.exec(gone)
    await other.close()
    assert result.exit_code == 0
