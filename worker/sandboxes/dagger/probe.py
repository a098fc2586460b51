"""``python -m`` this module: whether the engine runs a command in the image, as one JSON line."""

import asyncio
import json
import sys
from time import monotonic

from revalid.jobs.errors import RevalidError
from revalid.jobs.settings import load_settings
from revalid.worker.sandboxes.dagger.engine import Engine


async def probe() -> dict[str, object]:
    """Connect, resolve the configured image and run a command; every wait is bounded."""
    settings = load_settings()
    engine = Engine(timeout_s=settings.connect_timeout_s, tools_image=settings.tools_image)
    found: dict[str, object] = dict.fromkeys(("engine", "image", "error")) | {"ok": False}
    started = monotonic()
    try:
        client = await engine.client()
        found["engine"] = await engine.guard(client.version())
        found["image"] = await engine.pin(settings.image)
        await engine.canary(settings.image)
        found["ok"] = True
    except RevalidError as error:
        found["error"] = str(error)
    finally:
        await engine.close()
    found["seconds"] = round(monotonic() - started, 2)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(probe())) + "\n")
