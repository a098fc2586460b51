"""Grouping of packages by their install."""

from typing import Any

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import directory_glob
from revalid.worker.strategies.node.builds import Builds
from revalid.worker.strategies.node.project import NodeProject
from revalid.worker.strategies.node.workspaces import (
    MAX_WORKSPACES,
    find_groups,
    pnpm_globs,
    uncovered,
)
from tests.worker.strategies.conftest import Files, Make


def layout(make: Make, files: dict[str, Any]) -> list[list[str]]:
    return [[p.directory for p in group.packages] for group in find_groups(make(files))]


@pytest.mark.parametrize(
    ("glob", "directory", "expected"),
    [
        ("client", "client", True),
        ("./client/", "client", True),
        ("client", "client/app", False),
        ("packages/*", "packages/a", True),
        ("packages/*", "packages/a/b", False),
        ("packages/**", "packages/a/b", True),
        ("**/api", "a/b/api", True),
        ("**/api", "api", True),
        ("a/**/z", "a/z", True),
        ("app-?", "app-1", True),
        ("*", "a", True),
        ("../x", "x", False),
    ],
)
def test_workspace_globs(glob: str, directory: str, expected: bool) -> None:
    assert bool(directory_glob(glob).match(directory)) is expected


def test_an_invalid_workspace_glob_is_refused(make: Make) -> None:
    with pytest.raises(InvalidProject, match=r"package.json: the workspace pattern 'a\[' has a \["):
        find_groups(make({"package.json": {"workspaces": ["a["]}}))


@pytest.mark.parametrize(
    "text",
    [
        "packages:\n  - apps/*  # all\n  - 'packages/*'\n\ncatalog:\n  - no\n",
        'catalog:\n  zod: 1\npackages: [apps/*, "packages/*"]\n',
        "packages:\n- apps/*\n# why\n- packages/*\n",
    ],
)
def test_pnpm_workspace_files(text: str) -> None:
    assert pnpm_globs(text) == ["apps/*", "packages/*"]


def test_one_install_serves_a_root_and_its_workspaces(make: Make) -> None:
    files = {
        "package.json": {"workspaces": ["client", "packages/*", "!packages/old", "missing"]},
        "client/package.json": "{}",
        "packages/a/package.json": "{}",
        "packages/old/package.json": "{}",
        "docs/package.json": "{}",
    }
    assert layout(make, files) == [[".", "client", "packages/a"]]


def test_client_and_server_outside_the_workspaces_are_separate(make: Make) -> None:
    files = {
        "package.json": {"workspaces": ["server"]},
        "client/package.json": "{}",
        "server/package.json": "{}",
    }
    assert layout(make, files) == [[".", "server"], ["client"]]


def test_client_and_server_need_no_root(make: Make) -> None:
    files = {"client/package.json": "{}", "server/package.json": "{}"}
    assert layout(make, files) == [["client"], ["server"]]


def test_pnpm_workspaces(make: Make) -> None:
    files = {
        "package.json": "{}",
        "pnpm-workspace.yaml": "packages:\n  - apps/*\n",
        "apps/web/package.json": "{}",
    }
    assert layout(make, files) == [[".", "apps/web"]]


def test_a_manifest_that_does_not_parse_is_named(make: Make) -> None:
    files = {"package.json": {"workspaces": ["*"]}, "api/package.json": "{,}"}
    with pytest.raises(InvalidProject, match=r"api/package.json is not a JSON object"):
        layout(make, files)


def test_too_many_workspaces_are_refused(make: Make) -> None:
    files: dict[str, Any] = {f"p/{n}/package.json": "{}" for n in range(MAX_WORKSPACES + 1)}
    files["package.json"] = {"workspaces": ["p/*"]}
    with pytest.raises(InvalidProject, match="has 257 workspaces, more than 256"):
        layout(make, files)


def test_too_many_patterns_are_refused(make: Make) -> None:
    with pytest.raises(InvalidProject, match="more than 256 workspace patterns"):
        layout(make, {"package.json": {"workspaces": ["x"] * (MAX_WORKSPACES + 1)}})


def test_many_patterns_for_many_manifests_are_refused(make: Make) -> None:
    deep = "/".join(["abcdeabcde"] * 80)
    files: dict[str, Any] = {f"{deep}/{n}/package.json": "{}" for n in range(250)}
    patterns = [f"x{'/*' * 50}/{number}" for number in range(MAX_WORKSPACES)]
    files["package.json"] = {"workspaces": patterns}
    with pytest.raises(InvalidProject, match=r"package.json: its workspace patterns are too many"):
        layout(make, files)


class Reads(dict[str, list[str]]):
    """Lists that count how often one is read."""

    number = 0

    def __getitem__(self, key: str) -> list[str]:
        self.number += 1
        return super().__getitem__(key)


def test_imports_are_followed_once_for_each_package_and_not_for_each_of_its_checks(
    make: Make,
) -> None:
    names = [f"p{number}" for number in range(20)]
    package = {"dependencies": dict.fromkeys(names, "*"), "main": "dist/x.js"}
    files: dict[str, Any] = {f"p/{n}/package.json": {"name": n, **package} for n in names}
    tree = make({**files, "package.json": {"workspaces": ["p/*"]}})
    project = NodeProject(tree, find_groups(tree))
    builds = Builds(project)
    reads = builds._imports = Reads(builds._imports)
    for _ in ("build", "typecheck", "lint", "test"):
        for each in project.packages:
            builds.needed_by([each])
    assert reads.number <= len(project.packages) ** 2


def test_parts_of_any_name_are_found_where_the_root_checks_nothing(make: Make) -> None:
    part = {"scripts": {"test": "x"}}
    files: Files = {
        "package.json": {"scripts": {"build": "node -e 0"}},
        "shop/package.json": part,
        "services/pay/package.json": part,
        "examples/a/package.json": part,
        "types/package.json": {"type": "module"},
    }
    tree = make(files)
    groups = find_groups(tree)
    assert [group.root.directory for group in groups] == [".", "shop", "services/pay"]
    assert uncovered(tree, groups) == ["examples/a"]


def test_beside_a_root_with_checks_other_parts_need_checks(make: Make) -> None:
    part = {"scripts": {"test": "x"}}
    files: Files = {
        "package.json": {"scripts": {"build": "tsc"}},
        "shop/package.json": {"scripts": {"dev": "x"}, "dependencies": {"a": "1"}},
        "mobile/package.json": part,
        "frontend/package.json": part,
        "apps/web/package.json": part,
    }
    tree = make(files)
    groups = find_groups(tree)
    assert [group.root.directory for group in groups] == [".", "frontend", "mobile", "apps/web"]
    assert uncovered(tree, groups) == ["shop"]
