"""Manifests that are odd, wrong or hostile."""

from typing import Any

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.worker.strategies.node.packages import Package, read_package
from tests.worker.strategies.conftest import Make


def package(**data: Any) -> Package:
    return Package("client", data)


@pytest.mark.parametrize("value", [None, 7, "x", [], ["x"], {"a": 1}, {"a": None}, {"a": []}])
def test_fields_of_a_wrong_type_count_as_missing(value: Any) -> None:
    odd = package(scripts=value, dependencies=value, workspaces=value, exports=value, main=value)
    assert (odd.scripts, odd.dependencies) == ({}, {})
    assert odd.workspaces in ((), ("x",))
    assert odd.entries == ()


def test_dependencies_of_every_kind_count() -> None:
    kinds = {
        "dependencies": {"a": "1"},
        "devDependencies": {"b": "1"},
        "peerDependencies": {"c": "1"},
        "optionalDependencies": {"d": "1"},
    }
    assert package(**kinds).dependencies.keys() == {"a", "b", "c", "d"}


def test_workspaces_may_be_a_list_or_an_object() -> None:
    assert package(workspaces=["a", 1]).workspaces == ("a",)
    assert package(workspaces={"packages": ["b"], "nohoist": ["c"]}).workspaces == ("b",)


def test_entries_are_the_files_for_importers() -> None:
    offered = package(
        exports={
            ".": {"types": "./dist/index.d.ts", "default": "./src/index.ts"},
            "./*": "./src/*.ts",
            "./package.json": "./package.json",
        },
        main="lib/main.js",
    )
    expected = {"client/dist/index.d.ts", "client/src/index.ts", "client/lib/main.js"}
    assert set(offered.entries) == expected


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        (".", "x"),
        ("client", "cd client && x"),
        ("my app", "cd 'my app' && x"),
        ("$(rm -rf)", "cd '$(rm -rf)' && x"),
        ("-P", "cd ./-P && x"),
    ],
)
def test_a_command_runs_in_its_package(directory: str, command: str) -> None:
    assert Package(directory, {}).within("x") == command


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("node --test", None),
        ("vitest", None),
        ("vitest run", None),
        ("jest --watchAll=false", None),
        ("vitest --watch=false", None),
        ("vitest --watch false", None),
        ("node watch-dog.js --watchdog", None),
        ("jest --watch", "the test script watches and never ends, in"),
        ("jest --watchAll", "the test script watches and never ends, in"),
        ("vitest watch", "the test script watches and never ends, in"),
        ("nodemon x.js", "the test script watches and never ends, in"),
        ('echo "Error: no test specified" && exit 1', "only a placeholder"),
        ("echo 'no tests yet'", "only a placeholder"),
        ("echo none && exit 0", "only a placeholder"),
        ("true", "only a placeholder"),
        ("exit 0", "only a placeholder"),
        ("node -e 0", "only a placeholder"),
        ("node -e 1", "only a placeholder"),
        ('node -e "process.exit(0)"', "only a placeholder"),
        ("printf none; :", "only a placeholder"),
        ("echo testing && node --test", None),
        ("node -e \"require('./test')\"", None),
        ("  ", "no test script in"),
    ],
)
def test_which_scripts_can_be_a_check(script: str, reason: str | None) -> None:
    unusable = package(scripts={"test": script}).unusable("test")
    assert unusable is None if reason is None else str(unusable).startswith(reason)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a" * 151])
def test_a_directory_that_cannot_be_shown_is_refused(make: Make, name: str) -> None:
    tree = make({f"{name}/package.json": "{}"})
    with pytest.raises(InvalidProject, match="rename it"):
        read_package(tree, name)
