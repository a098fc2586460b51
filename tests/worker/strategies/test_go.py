"""Go modules are downloaded, built, vetted and tested."""

import subprocess
from pathlib import Path

import pytest

from revalid.worker.strategies.go import _TEST
from tests.worker.strategies.conftest import PlanOf, commands, skips, steps_by_name

MODULE = "module example.org/a\n\ngo 1.22\n"
REQUIRES = f"{MODULE}\nrequire github.com/google/go-cmp v0.6.0\n"


def test_a_module_is_downloaded_built_vetted_and_tested(plan_of: PlanOf) -> None:
    plan = plan_of({"go.mod": REQUIRES, "go.sum": "", "a.go": "package a\n", "a_test.go": ""})
    assert list(commands(plan)) == ["install", "build", "vet", "test"]
    steps = steps_by_name(plan)
    assert steps["install"].cacheable
    assert steps["install"].inputs == ("go.mod", "go.sum")
    assert steps["test"].depends_on == ("install",)
    assert steps["vet"].step.allow_failure  # type: ignore[union-attr]
    assert (plan.strategy, plan.image) == ("go", "golang:1.26-alpine")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"go.mod": MODULE}, "no dependencies in go.mod"),
        ({"go.mod": REQUIRES, "vendor/modules.txt": ""}, "vendor/ holds the dependencies"),
    ],
)
def test_nothing_is_downloaded_that_is_not_needed(
    plan_of: PlanOf, files: dict[str, str], reason: str
) -> None:
    plan = plan_of({**files, "a.go": "package a\n"})
    assert skips(plan) == {"install": reason, "test": "no _test.go file"}
    assert list(commands(plan)) == ["build", "vet"]


def test_without_sources_nothing_is_checked(plan_of: PlanOf) -> None:
    plan = plan_of({"go.mod": MODULE})
    assert commands(plan) == {}
    assert all(step.absent for step in plan.steps)


def test_a_module_below_the_root_is_a_part_of_its_own(plan_of: PlanOf) -> None:
    source = {"go.mod": MODULE, "a.go": "package a\n"}
    below = {f"{place}/{name}": text for place in ("api", "x") for name, text in source.items()}
    plan = plan_of({**source, **below})
    assert [name for name in commands(plan) if name.startswith("build")] == ["build", "build api"]
    assert commands(plan)["build api"].startswith("cd api && {")
    assert plan.notes[-1] == "not covered by a check: go.mod in x"


@pytest.mark.parametrize(
    "files",
    [
        {"go.mod": f"{MODULE}\nrequire github.com/mattn/go-sqlite3 v1.14.0\n"},
        {"go.mod": MODULE, "c.go": 'package a\n\nimport "C"\n'},
    ],
)
def test_a_project_that_uses_c_gets_an_image_with_a_compiler(
    plan_of: PlanOf, files: dict[str, str]
) -> None:
    assert plan_of({"a.go": "package a\n", **files}).image == "golang:1.26-bookworm"


def test_a_version_without_an_image_is_named(plan_of: PlanOf) -> None:
    plan = plan_of({"go.mod": "module a\n\ngo 1.99\n", "a.go": "package a\n"})
    assert plan.notes[0] == "no known image fits go >=1.99 of go.mod: took golang:1.26-alpine"


GO_TEST = """\
=== RUN   TestA
=== RUN   TestA/b
--- PASS: TestA (0.00s)
    --- PASS: TestA/b (0.00s)
=== RUN   TestC
    c_test.go:1: no
--- FAIL: TestC (0.00s)
=== RUN   TestD
--- SKIP: TestD (0.00s)
FAIL
"""


@pytest.mark.parametrize("status", [0, 1])
def test_tests_are_counted_and_the_exit_code_is_that_of_go(tmp_path: Path, status: int) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\ncat <<'END'\n{GO_TEST}END\nexit {status}\n")
    go.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    run = subprocess.run(
        ["/bin/sh", "-c", _TEST],
        env={"PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == status
    assert run.stdout.splitlines() == [
        "    c_test.go:1: no",
        "--- FAIL: TestC (0.00s)",
        "--- SKIP: TestD (0.00s)",
        "FAIL",
        "go: 1 passed, 1 failed, 1 skipped",
    ]
