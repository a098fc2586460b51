"""What scripts do, through the scripts that they call."""

import pytest

from revalid.worker.strategies.node.scripts import (
    checks_types,
    does_nothing,
    needs_browser,
    runs_no_tests,
    watches,
    with_called,
)

SCRIPTS = {
    "noop": "echo none",
    "both": "npm run noop && yarn noop",
    "loop": "npm run loop",
    "real": "node check.js",
    "check:a": "true",
    "check:b": "tsc",
}


@pytest.mark.parametrize(
    "command",
    [
        "true",
        ":",
        "exit",
        "exit 0",
        "/bin/true",
        "(exit 0)",
        "echo a; pwd && date",
        "cd . && true",
        "CI=1 true",
        "cross-env CI=1 echo ok",
        "env true",
        "echo hi > out.txt",
        "sh -c 'exit 0'",
        "bash -c true",
        "node -e 0",
        "node -p 1",
        'node -e ""',
        'node --eval "process.exit(0)"',
        "node -e \"console.log('ok'); process.exit()\"",
        "node --version",
        "npm -v",
        "npm run noop",
        "npm run noop && npm run noop",
        "yarn noop",
        "run-s noop",
        "npm run both",
        "npm run build --if-present",
        "if true; then echo x; fi",
        'echo "Error: no test specified" && exit 1',
        "vitest list",
        "npx jest --listTests",
        "NODE_ENV=test mocha --dry-run 'test/**'",
        "pnpm exec playwright test --list",
        "pytest --collect-only -q",
    ],
)
def test_it_does_nothing(command: str) -> None:
    assert does_nothing(command, SCRIPTS)


@pytest.mark.parametrize(
    "command",
    [
        "exit 1",
        "false",
        "node check.js",
        "node -e \"require('./test')\"",
        "node -e \"console.log(require('child_process').execSync('git log'))\"",
        "echo $(tsc)",
        'echo "$(tsc)"',
        "echo `tsc`",
        "echo y | npx tsc",
        "npm run real",
        "run-s noop real",
        "run-p check:*",
        "npm run build --if-present -ws",
        "npm run missing",
        "npm run loop",
        "cp -r public dist",
        "sh -c 'exit 0",
        "true & tsc",
    ],
)
def test_it_does_something(command: str) -> None:
    assert not does_nothing(command, SCRIPTS)


@pytest.mark.parametrize(
    ("command", "forever"),
    [
        ("jest --watch", True),
        ("jest --watchAll", True),
        ("node --watch --test", True),
        ("vitest watch", True),
        ("mocha -w test", True),
        ("npm run real\nnode --test --watch", True),
        ("jest --watch=false", False),
        ("jest --watchAll=false", False),
        ("npm test -w packages/a", False),
        ("vitest", False),
    ],
)
def test_it_watches(command: str, forever: bool) -> None:
    assert watches(command) is forever


@pytest.mark.parametrize(
    ("name", "command", "only_types"),
    [
        ("check", "tsc -p tsconfig.check.json", True),
        ("check", "svelte-kit sync && svelte-check --tsconfig ./tsconfig.json", True),
        ("lint:ts", "tsc --noEmit", True),
        ("astro", "astro check", True),
        ("verify", "npx vue-tsc", True),
        ("preview", "astro preview", False),
        ("build", "tsc", False),
        ("dev", "tsc --noEmit --watch", False),
        ("check", "eslint . && tsc --noEmit", False),
        ("bundle", "tsc", False),
        ("prepublishOnly", "tsc --noEmit", False),
    ],
)
def test_it_only_checks_types(name: str, command: str, only_types: bool) -> None:
    assert checks_types(name, command) is only_types


@pytest.mark.parametrize(
    ("command", "none"),
    [
        ("eslint .", True),
        ("npx tsc --noEmit && prettier --check .", True),
        ("echo lint && xo", True),
        ("eslint . && node test.js", False),
        ("node run.js", False),
        ("xo 'unclosed", False),
    ],
)
def test_it_runs_no_tests(command: str, none: bool) -> None:
    assert runs_no_tests(command) is none


def test_scripts_that_are_called_are_read_once() -> None:
    assert with_called("npm run both && npm run loop", SCRIPTS).splitlines() == [
        "npm run both && npm run loop",
        "npm run noop && yarn noop",
        "npm run loop",
        "echo none",
    ]
    assert with_called('concurrently "npm:check:*"', SCRIPTS).splitlines()[1:] == ["true", "tsc"]
    assert with_called("npm run real -w a", SCRIPTS) == "npm run real -w a"


def test_a_browser_is_needed() -> None:
    assert needs_browser("ng test")
    assert needs_browser("npx playwright test")
    assert not needs_browser("vitest run")
