"""Write ``docs/reference.md`` from the code: ``python docs/generate_reference.py``."""

import html
import subprocess
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from revalid.jobs.settings import PREFIX, Settings

TARGET = Path(__file__).with_name("reference.md")


def settings_table() -> str:
    """One row for each setting."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "depends on the machine"
        elif field.default in (None, PydanticUndefined, ()):
            default = ""
        elif isinstance(field.default, tuple):
            default = ", ".join(f"`{word}`" for word in field.default)
        else:
            default = f"`{field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def cli() -> str:
    """Every command with its options, as Typer documents them."""
    command = [sys.executable, "-m", "typer", "revalid.producer.cli.app", "utils", "docs"]
    made = subprocess.run(
        [*command, "--name", "revalid"], capture_output=True, check=True, text=True
    )
    return (
        html.unescape(made.stdout).replace("\n#", "\n##").replace("# `revalid`", "## `revalid`", 1)
    )


def reference() -> str:
    """The page."""
    return (
        "# Reference\n\n"
        "`docs/generate_reference.py` writes this page from the code; a test compares both.\n\n"
        "## Settings\n\n"
        "Settings are read from the environment, otherwise from `.env` in the current directory.\n"
        "An unknown `REVALID_*` name is refused. Lists are separated by commas.\n\n"
        f"{settings_table()}\n\n{cli().strip()}\n"
    )


if __name__ == "__main__":
    TARGET.write_text(reference())
