"""``python -m worker.probe``: whether the engine answers and knows the image, as one JSON line."""

import asyncio
import json
import sys
from time import monotonic

from jobs.errors import JobError
from jobs.settings import load_settings
from worker.engine import Engine


async def probe() -> dict[str, object]:
    """Connect and resolve the configured image; every wait is bounded."""
    settings = load_settings()
    engine = Engine(timeout_s=settings.connect_timeout_s)
    found: dict[str, object] = {"ok": False, "engine": None, "image": None, "error": None}
    started = monotonic()
    try:
        client = await engine.client()
        found["engine"] = await engine.guard(client.version())
        found.update(image=await engine.pin(settings.image), ok=True)
    except JobError as error:
        found["error"] = str(error)
    finally:
        await engine.close()
    found["seconds"] = round(monotonic() - started, 2)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(probe())) + "\n")
