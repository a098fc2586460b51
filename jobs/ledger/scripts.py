"""The ledger's Lua scripts."""

from pathlib import Path

from redis import Redis
from redis.commands.core import Script

_FOLDER = Path(__file__).parent / "lua"


def register(redis: Redis) -> dict[str, Script]:
    """Register every script with the prelude before it; return them by name."""
    prelude = (_FOLDER / "prelude.lua").read_text()
    return {
        file.stem: redis.register_script(prelude + file.read_text())
        for file in _FOLDER.glob("*.lua")
        if file.stem != "prelude"
    }
