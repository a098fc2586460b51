"""What an install or a build leaves to forge later checks, with and without an overlay.

The table in ``docs/security.md`` says what each attack reaches; these tests hold it to that.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from revalid.worker.sandboxes.protocol import Sandbox
from tests.contract.conftest import (  # noqa: F401
    Opener,
    closing,
    engine,
    kind,
    open_sandbox,
    sandbox,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

NODE_TEST = """const test = require("node:test"), assert = require("node:assert");
test("adds", () => assert.strictEqual(require("../app.js").add(1, 1), 2));
"""
PYTHON_TEST = """import unittest, app
class Test(unittest.TestCase):
    def test_add(self):
        self.assertEqual(app.add(1, 1), 2)
"""
BROKEN = {
    "app.js": "exports.add = () => 3;\n",
    "app.py": "def add(a, b):\n    return 3\n",
    "tests/a.test.js": NODE_TEST,
    "tests/__init__.py": "",
    "tests/test_a.py": PYTHON_TEST,
    "package.json": '{"name": "app", "version": "1.0.0", '
    '"scripts": {"test": "node --require ./setup.js --test tests/a.test.js"}}\n',
    "setup.js": "",
    ".npmrc": "node-options=--no-warnings\n",
}
"""An app that is wrong, with tests that find it."""
NPM, NODE = "npm test", "node --test tests/a.test.js"
PYTHON = "python3 -m unittest tests.test_a"
EXIT_0 = "echo 'process.exit(0)' >"
FAKE = "mkdir -p {0}; printf '#!/bin/sh\\necho made up\\n' >{0}/{1}; chmod 755 {0}/{1}"
USER_SITE = "$(python3 -m site --user-site)"


@dataclass(frozen=True)
class Attack:
    """What an install leaves, and the check that it forges."""

    left: str
    check: str
    needs: str = ""


ATTACKS = {
    "tests deleted": Attack("rm -rf tests; mkdir tests; echo >tests/a.test.js", NODE),
    "tests emptied": Attack("echo >tests/a.test.js", NODE),
    "`scripts.test` rewritten": Attack("npm pkg set scripts.test=true", NPM),
    "setup file of the runner": Attack(f"{EXIT_0}setup.js", NPM),
    "`node-options` in `.npmrc`": Attack(
        f"{EXIT_0}x.js; echo 'node-options=--require ./x.js' >.npmrc", NPM
    ),
    "`node-options` in `~/.npmrc`": Attack(
        f"{EXIT_0}x.js; rm -f .npmrc; echo 'node-options=--require ./x.js' >~/.npmrc", NPM
    ),
    "`node` in `~/.local/bin`": Attack(FAKE.format("~/.local/bin", "node"), NODE),
    "`npm` in `~/.npm-global/bin`": Attack(FAKE.format("~/.npm-global/bin", "npm"), NPM),
    "`node` in `node_modules/.bin`": Attack(FAKE.format("node_modules/.bin", "node"), NPM),
    "`usercustomize`": Attack(
        f'mkdir -p "{USER_SITE}"; echo "import os; os._exit(0)" >"{USER_SITE}/usercustomize.py"',
        PYTHON,
        "python3",
    ),
    "`.pth` file": Attack(
        f'mkdir -p "{USER_SITE}"; echo "import os; os._exit(0)" >"{USER_SITE}/x.pth"',
        PYTHON,
        "python3",
    ),
    "code under test ends the process": Attack("echo 'process.exit(0)' >app.js", NODE),
    "code under test rewrites the tests": Attack(
        'echo \'require("fs").rmSync("tests/a.test.js", {force: true}); process.exit(0)\' >app.js',
        NODE,
    ),
    "process left behind rewrites the tests": Attack(
        "(sleep 1; while :; do echo >tests/a.test.js; sleep 0.1; done) >/dev/null 2>&1 & true",
        f"sleep 2; {NODE}",
    ),
}


@pytest.fixture(autouse=True)
def _check_that_the_next_job_passes_and_nothing_is_left() -> None:
    """Replace the check of a worker: these tests have none."""


def promised() -> dict[str, list[str]]:
    """Return what the page says of each attack, without and with an overlay."""
    page = Path(__file__).parents[2].joinpath("docs/security.md").read_text()
    section = page.split("## What a verdict without an overlay does not promise")[1]
    rows = re.findall(r"^\| ([^|]+) \| (forged|defeated)[^|]* \| (forged|defeated)", section, re.M)
    return {name: [without, with_overlay] for name, without, with_overlay in rows}


@pytest.mark.parametrize("name", ATTACKS)
async def test_the_table_says_what_an_attack_reaches(
    open_sandbox: Opener,  # noqa: F811
    name: str,
    tmp_path: Path,
) -> None:
    attack = ATTACKS[name]
    trusted = tmp_path / "trusted"
    for path, content in BROKEN.items():
        if not path.startswith("app"):
            (trusted / path).parent.mkdir(parents=True, exist_ok=True)
            (trusted / path).write_text(content)
    found = []
    for overlay in (None, trusted):
        box = await open_sandbox()
        await box.write_files(BROKEN)
        if attack.needs and (await box.exec(f"command -v {attack.needs}")).exit_code:
            pytest.skip(f"no {attack.needs} in this sandbox")
        if overlay is None:
            assert not await passes(box, attack.check, None), "the app is wrong"
        await box.exec(attack.left)
        found.append("forged" if await passes(box, attack.check, overlay) else "defeated")
    assert found == promised()[name]


async def passes(box: Sandbox, check: str, overlay: Path | None) -> bool:
    """Return whether a check passes, as a job judges it."""
    if overlay is None:
        return (await box.exec(check)).exit_code == 0
    await box.lay_overlay(overlay)
    code = (await box.exec(check)).exit_code
    return not await box.lift_overlay(overlay) and code == 0


async def test_every_row_is_tried() -> None:
    assert promised().keys() == ATTACKS.keys()
