"""The ledger's scripts with a line of the prelude changed."""

from pathlib import Path

import pytest
from redis import Redis
from redis.commands.core import Script

import revalid.jobs.ledger.scripts

FOLDER = Path(revalid.jobs.ledger.scripts.__file__).parent / "lua"
NAMES = sorted(file.stem for file in FOLDER.glob("*.lua") if file.stem != "prelude")


def change(monkeypatch: pytest.MonkeyPatch, line: str, changed: str) -> None:
    """Replace a line of the prelude in the scripts of ledgers that are opened from now on."""
    prelude = (FOLDER / "prelude.lua").read_text()
    assert prelude.count(f"\n{line}") == 1
    prelude = prelude.replace(line, changed)

    def register(redis: Redis) -> dict[str, Script]:
        return {
            name: redis.register_script(prelude + (FOLDER / f"{name}.lua").read_text())
            for name in NAMES
        }

    monkeypatch.setattr("revalid.jobs.ledger.ledger.register", register)
