"""``init``: writes a ``revalid.toml`` from what was detected."""

from pathlib import Path
from typing import Any

from rich.text import Text

from revalid.jobs import atomic_write
from revalid.jobs.configuration import read_configuration
from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.file_start import read_start
from revalid.producer.batch.item import BatchItem
from revalid.producer.cli.batch.dry_run import plans_of
from revalid.producer.cli.options import CHECKS, JobOptions
from revalid.producer.cli.output import console
from revalid.producer.cli.run import settings_for
from revalid.producer.sanitize import one_line

FILE = "revalid.toml"
_WIDTH = 100


def init(directory: Path, *, force: bool) -> int:
    """Write the file, unless there is a configuration; return the exit status."""
    if not directory.is_dir():
        raise InvalidProject(f"project {directory}: no such directory")
    path = directory / FILE
    if path.exists() and not force:
        raise InvalidProject(f"{path} exists: --force replaces it")
    other = read_configuration(
        lambda name, most: None if name == FILE else read_start(directory / name, most)
    )
    if other is not None:
        raise InvalidProject(f"{directory / other.file} has a configuration: change that one")
    item = BatchItem(project=directory.resolve().name, origin=str(directory.resolve()))
    settings = settings_for(directory)
    (plan,) = plans_of([item], JobOptions(no_project_config=True), settings)
    try:
        atomic_write.replace(path, configuration_text(plan).encode(errors="replace"))
    except OSError as error:
        raise InvalidProject(f"{path}: {error.strerror}: make it writable") from None
    console().print(f"wrote {path}")
    console(stderr=True).print(Text("`revalid run --dry-run` shows the plan with it", "dim"))
    return 0


def configuration_text(plan: dict[str, Any]) -> str:
    """Return the text of the file for a plan, as the dry run gives it."""
    checks = [check for check in plan.get("checks", ()) if not check["skipped_reason"]]
    if "error" in plan:
        found = [plan["error"]]
    else:
        steps = ", ".join(check["name"] for check in checks)
        found = [f"found {plan['strategy']}: {plan['reason']}", f"steps: {steps}"]
    required = sorted({check["check"] for check in checks if check["decides"]}.intersection(CHECKS))
    listed = ", ".join(f'"{name}"' for name in required)
    services = ", ".join(f'"{kind}"' for kind in plan.get("services", ()))
    image = plan.get("image") or "node:22-alpine3.22"
    return "\n".join(
        [
            "# How revalid validates this project; every key is optional.",
            *(f"# {one_line(line)[:_WIDTH]}" for line in found),
            "",
            "# checks without whose proof the verdict is never `passed`",
            f"require = [{listed}]" if listed else '# require = ["tests"]',
            "",
            "# services beside the tests, each fresh",
            f"services = [{services}]" if services else '# services = ["postgres"]',
            "",
            f'# image = "{image}"',
            "# expect_tests = 12",
            '# artifacts = ["dist"]',
            "",
            "# [env]",
            '# LOG_LEVEL = "debug"',
            "",
            "# [[commands]] # checks of your own, after those that were found",
            '# name = "smoke"',
            '# run = "./smoke.sh"',
            "",
            "# [start]",
            '# path = "/health"',
            "",
            "# [matrix] # one job for each",
            "# node = [20, 22]",
            "",
        ]
    )
