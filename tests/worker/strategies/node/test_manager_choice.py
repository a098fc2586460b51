"""Choice of a project's package manager."""

from typing import Any

import pytest

from revalid.worker.strategies.node.manager_choice import PackageManagerChoice, detect_manager
from revalid.worker.strategies.node.workspaces import find_groups
from tests.worker.strategies.conftest import Make

BERRY_LOCK = "# generated\n\n__metadata:\n  version: {}\n"


def chosen(make: Make, manifest: dict[str, Any], files: dict[str, Any]) -> PackageManagerChoice:
    tree = make({"package.json": manifest, **files})
    return detect_manager(tree, find_groups(tree)[0])


@pytest.mark.parametrize(
    ("lockfile", "content", "install"),
    [
        ("package-lock.json", "", "npm ci"),
        ("npm-shrinkwrap.json", "", "npm ci"),
        ("bun.lock", "", "bun install --frozen-lockfile"),
        ("bun.lockb", "", "bun install --frozen-lockfile"),
        ("pnpm-lock.yaml", "", "pnpm install --frozen-lockfile"),
        ("yarn.lock", "# yarn lockfile v1\n", "yarn install --frozen-lockfile"),
        ("yarn.lock", BERRY_LOCK.format(8), "yarn install --immutable"),
    ],
)
def test_the_lockfile_decides(make: Make, lockfile: str, content: str, install: str) -> None:
    choice = chosen(make, {}, {lockfile: content})
    assert (choice.manager.frozen, choice.locked, choice.note) == (install, True, "")


@pytest.mark.parametrize(
    ("manifest", "files", "name", "reason"),
    [
        ({"packageManager": "bun@1.2.2"}, {}, "bun", "since packageManager names it"),
        ({"packageManager": "npm@10.0.0", "scripts": {"test": "bun test"}}, {}, "npm", "names it"),
        ({"scripts": {"db": "cd x && bun run y"}}, {}, "bun", "since its scripts or tests use bun"),
        ({}, {"src/a.test.ts": "import { test } from 'bun:test'"}, "bun", "tests use bun"),
        ({"scripts": {"test": "vitest --bundle"}}, {}, "npm", "since nothing names another"),
    ],
)
def test_one_of_several_lockfiles_is_chosen_with_a_note(
    make: Make, manifest: dict[str, Any], files: dict[str, Any], name: str, reason: str
) -> None:
    choice = chosen(make, manifest, {"package-lock.json": "{}", "bun.lock": "{}", **files})
    assert choice.manager.command == name
    assert choice.note.startswith(f"the root has package-lock.json, bun.lock: used {name}, ")
    assert choice.note.endswith(reason)


def test_a_lockfile_outranks_package_manager(make: Make) -> None:
    choice = chosen(make, {"packageManager": "pnpm@9.1.0"}, {"package-lock.json": "{}"})
    assert choice.manager.command == "npm"
    assert choice.note == (
        "the root has package-lock.json: used npm, although packageManager names pnpm"
    )


@pytest.mark.parametrize(
    ("manifest", "install", "note"),
    [
        ({}, "npm install", "ran npm install; versions may differ between runs"),
        ({"packageManager": "pnpm@9.1.0"}, "pnpm install --no-frozen-lockfile", "packageManager"),
        ({"packageManager": "yarn@4.1.0"}, "yarn install --no-immutable", "packageManager"),
        ({"packageManager": "yarn@1.22.0"}, "yarn install", "packageManager"),
        ({"scripts": {"dev": "bunx vite"}}, "bun install", "scripts or tests use bun"),
    ],
)
def test_a_missing_lockfile_gives_a_note(
    make: Make, manifest: dict[str, Any], install: str, note: str
) -> None:
    choice = chosen(make, manifest, {})
    assert (choice.manager.unlocked, choice.locked) == (install, False)
    assert choice.note.startswith("no lockfile in the root: ran ")
    assert note in choice.note


@pytest.mark.parametrize(
    ("hint", "install"),
    [
        ("pnpm-workspace.yaml", "pnpm install --no-frozen-lockfile"),
        (".yarnrc.yml", "yarn install --no-immutable"),
    ],
)
def test_settings_of_one_manager_stand_in_for_its_lockfile(
    make: Make, hint: str, install: str
) -> None:
    choice = chosen(make, {}, {hint: ""})
    assert (choice.manager.unlocked, choice.locked) == (install, False)
    assert f", since it has {hint}; " in choice.note


@pytest.mark.parametrize(
    ("manifest", "files", "version"),
    [
        ({"packageManager": "bun@1.2.2+sha512.abc"}, {"bun.lock": ""}, "1.2.2"),
        ({"packageManager": "pnpm@10.19.0"}, {"pnpm-lock.yaml": ""}, "10.19.0"),
        ({"packageManager": "yarn@4.1.0-rc.3"}, {"yarn.lock": "__metadata:"}, "4.1.0-rc.3"),
        ({"packageManager": "bun@1; rm -rf /"}, {"bun.lock": ""}, "1.4.5"),
        ({"packageManager": ["bun@1.2.2"]}, {"bun.lock": ""}, "1.4.5"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: 5.4\n"}, "7.33.7"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "8.15.9"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "9.15.9"),
        (
            {},
            {
                "pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
                "pnpm-workspace.yaml": "packages:\n  - a\nonlyBuiltDependencies:\n  - esbuild\n",
            },
            "10.34.8",
        ),
        ({}, {"yarn.lock": BERRY_LOCK.format(6)}, "3.8.6"),
        ({}, {"yarn.lock": BERRY_LOCK.format(8)}, "4.18.1"),
        ({}, {"yarn.lock": "# yarn lockfile v1"}, "1.22.22"),
        ({"packageManager": "yarn@4.1.0"}, {"yarn.lock": "# yarn lockfile v1"}, "1.22.22"),
    ],
)
def test_the_version_to_provide(
    make: Make, manifest: dict[str, Any], files: dict[str, Any], version: str
) -> None:
    assert chosen(make, manifest, files).version == version
