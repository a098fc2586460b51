"""Checks that the engine runs a command in the image: ``python -m`` prints one JSON line."""

import asyncio
import json
import sys
from time import monotonic

from revalid.jobs.errors import RevalidError
from revalid.jobs.settings import load_settings
from revalid.worker.sandboxes.dagger.engine import Engine


async def probe() -> dict[str, object]:
    """Connect, resolve the configured image and run a command; return what was found.

    Every wait is bounded.
    """
    settings = load_settings()
    engine = Engine(timeout_s=settings.connect_timeout_s, tools_image=settings.tools_image)
    report: dict[str, object] = dict.fromkeys(("engine", "image", "error")) | {"ok": False}
    started = monotonic()
    try:
        client = await engine.client()
        report["engine"] = await engine.call(client.version())
        report["image"] = await engine.pin(settings.image)
        await engine.check_health(settings.image)
        report["ok"] = True
    except RevalidError as error:
        report["error"] = str(error)
    finally:
        await engine.close()
    report["seconds"] = round(monotonic() - started, 2)
    return report


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(probe())) + "\n")
