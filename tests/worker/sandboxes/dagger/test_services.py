"""Services of the engine beside a command, on a real engine."""

import pytest

from revalid.jobs.errors import InvalidJob, SandboxLost
from revalid.jobs.job import DEFAULT_IMAGE
from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.services import running
from revalid.worker.services import NeededService

pytestmark = [pytest.mark.dagger, pytest.mark.asyncio(loop_scope="session")]


async def test_an_image_that_no_registry_knows_is_the_jobs_mistake(dagger_engine: Engine) -> None:
    unknown = NeededService(ServiceKind.REDIS, "valkey/no-such-image:1")
    with pytest.raises(InvalidJob, match="valkey/no-such-image:1"):
        async with running(dagger_engine, [unknown]):
            pass


async def test_a_server_that_ends_at_once_is_told(dagger_engine: Engine) -> None:
    other = NeededService(ServiceKind.POSTGRES, DEFAULT_IMAGE)  # node ends without an input
    with pytest.raises(SandboxLost, match=r"service postgres .* did not start"):
        async with running(dagger_engine, [other]):
            pass
