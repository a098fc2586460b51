"""Services of the engine beside a command, on a real engine."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from urllib.parse import quote

import pytest

from revalid.jobs.errors import InvalidJob, SandboxLost
from revalid.jobs.job import DEFAULT_IMAGE
from revalid.jobs.services import Service, ServiceKind
from revalid.worker.sandboxes.dagger import services
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.sandboxes.dagger.services import running
from revalid.worker.sandboxes.protocol import StepFailed
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


def node(script: str, *, declared: bool = True, ready: str | None = None) -> NeededService:
    """Return a service of another kind that runs a script."""
    module = f"--import=data:text/javascript,{quote(script)}"
    given = Service(
        kind=ServiceKind.OTHER,
        name="search",
        image=DEFAULT_IMAGE,
        port=7700,
        env={"NODE_OPTIONS": module},
        ready=ready,
    )
    return NeededService(ServiceKind.OTHER, DEFAULT_IMAGE, declared=declared, other=given)


SERVE = "import http from 'http'; const s = http.createServer((q, a) => { ANSWER }).listen(7700)"
WELL = SERVE.replace("ANSWER", "a.end('found')")


async def test_a_service_of_another_kind_is_there(dagger_engine: Engine) -> None:
    slow = SERVE.replace(
        "ANSWER", "a.statusCode = process.uptime() > 3 ? 200 : 503; a.end('found')"
    )
    needed = node(slow, ready="/health")
    sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE)
    command = "wget -q -O - http://$SEARCH_HOST:$SEARCH_PORT/; wget -q -O - http://search:7700/"
    result = await sandbox.exec(command, services=[needed])
    await sandbox.close()
    assert (result.exit_code, result.stdout.head) == (0, b"foundfound")
    assert result.services_ready["search"] > 1


@pytest.mark.parametrize(("declared", "error"), [(True, StepFailed), (False, SandboxLost)])
async def test_a_server_that_ends_beside_a_command_leaves_its_log(
    dagger_engine: Engine, declared: bool, error: type[Exception]
) -> None:
    needed = node(
        f"{WELL}; setTimeout(() => {{ console.error('no space'); process.exit(3) }}, 2500)",
        declared=declared,
    )
    sandbox = await DaggerSandbox.open(dagger_engine, DEFAULT_IMAGE)
    words = r"service search \(node:\S+\) ended while the command ran \(exit 3\); .*: no space"
    with pytest.raises(error, match=words):
        await sandbox.exec("sleep 20", services=[needed])
    later = await sandbox.exec("echo ${SEARCH_HOST-gone}; sleep 5")
    await sandbox.close()
    assert (later.exit_code, later.stdout.head) == (0, b"gone\n")  # it does not start again


async def test_a_server_of_the_jobs_own_image_that_does_not_start_fails_its_step(
    dagger_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StepFailed, match=r"service search .* did not start: .*: no licence"):
        async with running(dagger_engine, [node("console.log('no licence'); process.exit(2)")]):
            pass
    monkeypatch.setattr(services, "START_TIMEOUT_S", 5.0)
    unwell = node(SERVE.replace("ANSWER", "a.statusCode = 503; a.end()"), ready="/")
    with pytest.raises(StepFailed, match=r"service search .* was not ready within 5 s"):
        async with running(dagger_engine, [unwell]):
            pass


@pytest.mark.parametrize("image", ["mysql:8.4", "mariadb:11"])
async def test_mysql_takes_the_credentials_that_a_project_reads(
    dagger_engine: Engine, image: str
) -> None:
    needed = NeededService(ServiceKind.MYSQL, image)
    sandbox = await DaggerSandbox.open(dagger_engine, image)
    result = await sandbox.exec(
        'mariadb -h "$DB_HOST" -u "$DB_USER" -p"$DB_PASSWORD" "$DB_NAME" --skip-ssl -N '
        "-e 'create table t (a int); insert into t values (7); select a from t'",
        services=[needed],
    )
    await sandbox.close()
    assert (result.exit_code, result.stdout.head) == (0, b"7\n"), result.stderr


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
