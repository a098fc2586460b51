"""``python -m revalid.worker.strategies``: prints the plug-ins' strategies as JSON.

It prints a list of objects with ``name``, ``package`` and ``problem``, which is null for one that
works.
"""

import json

from revalid.jobs.errors import StrategyBroken
from revalid.worker.strategies.registry import plug_ins


def main() -> None:
    """Load each plug-in and print it."""
    found: list[dict[str, str | None]] = []
    try:
        for name, plug_in in plug_ins().items():
            try:
                plug_in.check()
                problem = None
            except StrategyBroken as error:
                problem = str(error)
            found.append({"name": name, "package": plug_in.package, "problem": problem})
    except StrategyBroken as error:  # no name to list
        found.append({"name": "plug-ins", "package": None, "problem": str(error)})
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
