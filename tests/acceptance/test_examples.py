"""What a new user sees: the examples through the command line, and what it leaves behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
CHECKS = ["install", "build", "typecheck client", "typecheck server", "test", "start"]
FAILING = {
    "trpc-app": {},
    "trpc-type-error": {"typecheck client": "error TS2353"},
    "trpc-failing-test": {"test": "toggling a completed task reopens it"},
}


@pytest.mark.network
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm projects need Node and npm")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("example", "kind"),
    [
        ("trpc-app", "local"),
        pytest.param("trpc-app", "dagger", marks=pytest.mark.dagger),
        ("trpc-type-error", "local"),
        pytest.param("trpc-type-error", "dagger", marks=[pytest.mark.dagger, pytest.mark.slow]),
        pytest.param("trpc-failing-test", "local", marks=pytest.mark.slow),
        pytest.param("trpc-failing-test", "dagger", marks=pytest.mark.dagger),
    ],
)
def test_example_gets_its_verdict_step_by_step(example: str, kind: str, tmp_path: Path) -> None:
    status, result = run(EXAMPLES / example, kind, tmp_path)
    failing = FAILING[example]
    assert (status, result["verdict"]) == ((1, "failed") if failing else (0, "passed"))
    assert [step["name"] for step in result["steps"]] == CHECKS
    for step in result["steps"]:
        assert step["skipped_reason"] is None
        assert (step["status"] != "passed") == (step["name"] in failing), step
        assert failing.get(step["name"], "") in step["stdout"]
    sandbox = result["sandbox"]
    assert (sandbox["kind"], sandbox["fallback_reason"]) == (kind, None)
    assert bool(sandbox["image_digest"]) == (kind == "dagger")
    assert {"node", "npm"} <= result["tools"].keys()
    assert not [
        process.cmdline()
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("REVALID_HOME") == str(tmp_path)
    ]


def run(project: Path, kind: str, home: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and document of ``revalid run --json``."""
    done = subprocess.run(
        [Path(sys.executable).with_name("revalid"), "run", project, "--sandbox", kind, "--json"],
        env={**os.environ, "REVALID_HOME": str(home)},
        capture_output=True,
        check=False,
        timeout=280,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document
