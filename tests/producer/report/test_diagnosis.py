"""Finding the line with the error in the output of a failure."""

from typing import Any

import pytest

from revalid.jobs.result import Verdict
from revalid.producer.report import Row
from revalid.producer.report.diagnosis import Diagnosis, check_kind, diagnose
from tests.producer.report import outputs
from tests.producer.report.samples import failing, row, step

WORDS = {
    "path": "src/a.ts",
    "line": "3",
    "given": "string",
    "wanted": "number",
    "got": "2",
    "want": "3",
}
WORDS |= {"took": "58", "package": "zod", "version": "99.0.0", "hash": "Cohbwjf9"}
TYPES = "TS2322: Type 'string' is not assignable to type 'number'."


def printed(name: str) -> str:
    text: str = getattr(outputs, name)
    return text.format(**WORDS) if "{path}" in text or "{package}" in text else text


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("TSC", "TS2322", TYPES),
        ("TSC_PRETTY", "TS2322", TYPES),
        ("VITE", "", 'Rollup failed to resolve import "zod" from "/workspace/src/a.ts".'),
        ("ESBUILD", "", 'Unexpected ";"'),
        ("NPM_ETARGET", "ETARGET", "ETARGET: No matching version found for zod@^99.0.0."),
        ("NPM_OLD", "ERESOLVE", "ERESOLVE: unable to resolve dependency tree"),
        (
            "NPM_CI",
            "EUSAGE",
            "EUSAGE: `npm ci` can only install packages when your package.json and "
            "package-lock.json agree.",
        ),
        (
            "NPM_ENOENT",
            "ENOENT",
            "ENOENT: Could not read package.json: Error: ENOENT: no such file or directory",
        ),
        ("NPM_SCRIPT", "", 'Missing script: "build"'),
        ("NPM_SHELL", "", "vite: not found"),
        (
            "BUN_INSTALL",
            "",
            'No version matching "^99.0.0" found for specifier "left-pad" (but package exists)',
        ),
        ("BUN_TEST", "", "expect(received).toBe(expected)"),
        (
            "PNPM",
            "ERR_PNPM_OUTDATED_LOCKFILE",
            'ERR_PNPM_OUTDATED_LOCKFILE: Cannot install with "frozen-lockfile" because '
            "pnpm-lock.yaml is old",
        ),
        (
            "VITEST",
            "AssertionError",
            "AssertionError: expected 2 to be 3 // Object.is equality",
        ),
        ("VITEST_SLOW", "", "Test timed out in 5000ms."),
        ("NODE_TAP", "", "Expected values to be strictly equal: 2 !== 3"),
        (
            "NODE_SPEC",
            "ERR_ASSERTION",
            "AssertionError [ERR_ASSERTION]: The expression evaluated to a falsy value:",
        ),
        ("NODE_MODULE", "", "Cannot find module 'zod'"),
        ("NODE_TYPE_ERROR", "TypeError", "TypeError: app.listen is not a function"),
        ("JEST", "", "expect(received).toBe(expected) // Object.is equality"),
        ("PYTEST", "", "assert 3 == 4"),
        (
            "PYTEST_IMPORT",
            "ModuleNotFoundError",
            "ModuleNotFoundError: No module named 'not_there'",
        ),
        (
            "MYPY",
            "assignment",
            'assignment: Incompatible types in assignment (expression has type "str")',
        ),
        ("COMPILE", "SyntaxError", "SyntaxError: invalid syntax"),
        ("PIP", "", "No matching distribution found for requests==99.99"),
        (
            "ESLINT",
            "@typescript-eslint/no-unused-vars",
            "@typescript-eslint/no-unused-vars: 'x' is assigned a value but never used",
        ),
        ("HEAP", "", "JavaScript heap out of memory"),
        ("MAKE", "", "make: *** [Makefile:3: app] Error 1"),
    ],
)
def test_the_line_with_the_error(name: str, code: str, message: str) -> None:
    for stream in ("stdout", "stderr"):
        diagnosis = diagnose(failing("a", "test", **{stream: printed(name)}))
        assert diagnosis == Diagnosis("test", code, message)


def test_the_line_with_the_error_is_found_at_either_end_of_much_output() -> None:
    noise = "compiled a module\n" * 20_000
    for output in (printed("TSC") + noise, noise + printed("TSC")):
        assert diagnose(failing("a", "typecheck", output)).message == TYPES


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"timed_out": True, "duration_s": 600.2}, "timed out", "timed out after 10 min 00 s"),
        (
            {"limit_exceeded": "memory", "limit_value": "8 GiB", "stderr": "boom"},
            "memory",
            "over its memory limit of 8 GiB",
        ),
        ({"exit_code": 137}, "137", "killed, as where memory runs out (exit 137)"),
        ({"exit_code": 3}, "silent", "exit 3, and nothing that tells why"),
        ({"exit_code": 1, "stdout": "> build\n\nit is no use\n"}, "", "it is no use"),
    ],
)
def test_a_step_that_printed_nothing_of_use(
    fields: dict[str, Any], code: str, message: str
) -> None:
    made = row("a", step("build", **{"exit_code": 1, **fields}))
    assert diagnose(made) == Diagnosis("build", code, message)


@pytest.mark.parametrize(
    ("fields", "check", "message"),
    [
        (
            {"verdict": Verdict.ERRORED, "error": "no engine answers"},
            "errored",
            "no engine answers",
        ),
        ({"verdict": Verdict.REJECTED, "error": "nothing\nwas checked"}, "rejected", None),
        ({"verdict": None, "error": "no such directory"}, "not_submitted", "no such directory"),
        ({"verdict": Verdict.TIMED_OUT}, "timed_out", "the job's limit was reached"),
        ({"verdict": Verdict.FAILED, "failed_step": "test"}, "failed", "failed: test"),
    ],
)
def test_a_row_without_a_failed_step(
    fields: dict[str, Any], check: str, message: str | None
) -> None:
    diagnosis = diagnose(Row(project="a", id="0", **fields))
    assert diagnosis == Diagnosis(check, "", message or "nothing was checked")


def test_the_jobs_own_limit_is_named() -> None:
    steps = (step("build"), step("test", None, skipped_reason="the job's limit of 9 s was reached"))
    diagnosis = diagnose(row("a", *steps, verdict=Verdict.TIMED_OUT))
    assert diagnosis.message == "the job's limit of 9 s was reached"


@pytest.mark.parametrize(
    ("name", "strategy", "check"),
    [
        ("typecheck client", "trpc", "typecheck"),
        ("install", "python", "install"),
        ("npm test", "command", "npm test"),
        ("cd client && npm test", "command", "npm test"),
        ("test -f README.md", "command", "test -f README.md"),
        ("verify everything", "npm", "verify everything"),
    ],
)
def test_a_check_is_the_same_in_every_package(name: str, strategy: str, check: str) -> None:
    assert check_kind(name, strategy) == check
