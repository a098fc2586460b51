"""Reuse of earlier verdicts, with an engine that knows one image or none."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from revalid.jobs.errors import EngineUnavailable
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.result import JobResult, SandboxReport, Verdict
from revalid.jobs.settings import Settings, load_settings
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.factory import local_toolchain
from revalid.worker.verdict_reuse import reusable_result
from tests.jobs.samples import make_job

DIGEST = "sha256:" + "1" * 64
NOW = datetime.now(UTC)
RESULT = JobResult(
    id="1",
    verdict=Verdict.FAILED,
    image="node:20",
    attempts=1,
    queued_at=NOW,
    started_at=NOW,
    finished_at=NOW,
    sandbox=SandboxReport(kind="dagger", image_digest=DIGEST),
)
PRIOR = RESULT.model_dump_json()


class Registry(Engine):
    """An engine whose registry says what the test does."""

    def __init__(self, digest: str | None) -> None:
        super().__init__(timeout_s=1)
        self.digest = digest
        self.asked = 0

    async def pin(self, image: str, *, again: bool = False) -> str:
        assert again, "what it said earlier is what is in doubt"
        self.asked += 1
        if self.digest is None:
            raise EngineUnavailable("no Dagger engine answered")
        return f"docker.io/library/{image}@{self.digest}"


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis)


def settings_of(**fields: str) -> Settings:
    return load_settings({}, env_file=None, **fields)


async def test_the_same_image(ledger: Ledger) -> None:
    found = await reusable_result(PRIOR, make_job(), settings_of(), {}, ledger, Registry(DIGEST))
    assert found == RESULT.model_copy(update={"reused": True})


@pytest.mark.parametrize("digest", ["sha256:" + "2" * 64, None], ids=["moved", "no engine"])
async def test_another_image_or_no_answer(ledger: Ledger, digest: str | None) -> None:
    registry = Registry(digest)
    assert await reusable_result(PRIOR, make_job(), settings_of(), {}, ledger, registry) is None
    assert registry.asked == 1


@pytest.mark.parametrize(("known", "stands"), [(DIGEST, True), ("sha256:other", False)])
async def test_a_digest_that_the_ledger_knows_is_not_resolved_again(
    ledger: Ledger, known: str, stands: bool
) -> None:
    registry = Registry(DIGEST)
    ledger.resolved("node:20", known)
    found = await reusable_result(PRIOR, make_job(), settings_of(), {}, ledger, registry)
    assert (found is not None) is stands
    assert registry.asked == 0


@pytest.mark.parametrize("prior", [None, "{}", '{"schema_version": 2}'])
async def test_no_result_that_can_be_read(ledger: Ledger, prior: str | None) -> None:
    assert (
        await reusable_result(prior, make_job(), settings_of(), {}, ledger, Registry(DIGEST))
        is None
    )


@pytest.mark.parametrize(
    ("asked", "allowed"), [("local", "auto"), (None, "local"), ("auto", "local")]
)
async def test_a_job_without_an_image_needs_no_engine_to_decide(
    ledger: Ledger, asked: str | None, allowed: str
) -> None:
    registry = Registry(DIGEST)
    settings = settings_of(sandbox=allowed)
    assert (
        await reusable_result(PRIOR, make_job(sandbox=asked), settings, {}, ledger, registry)
        is None
    )
    assert registry.asked == 0


def program(directory: Path, name: str, content: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content)
    (directory / name).chmod(0o755)


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED])
async def test_a_local_verdict_rests_on_the_workers_programs(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    """A worker without Node failed a project; with Node it must look again."""
    settings: Settings = settings_of(sandbox="local")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path / "bin", "git", "1")
    local = SandboxReport(kind="local", toolchain=local_toolchain(settings, {}))
    result = RESULT.model_copy(update={"sandbox": local, "verdict": verdict})

    async def reused() -> JobResult | None:
        prior = result.model_dump_json()
        return await reusable_result(prior, make_job(), settings, {}, ledger, Registry(DIGEST))

    assert await reused() == result.model_copy(update={"reused": True})
    program(tmp_path / "bin", "node", "1")
    assert await reused() is None


async def test_a_worker_for_containers_reuses_no_local_verdict(ledger: Ledger) -> None:
    settings = settings_of(sandbox="dagger")
    local = SandboxReport(kind="local", toolchain=local_toolchain(settings, {}))
    prior = RESULT.model_copy(update={"sandbox": local}).model_dump_json()
    assert await reusable_result(prior, make_job(), settings, {}, ledger, Registry(DIGEST)) is None
