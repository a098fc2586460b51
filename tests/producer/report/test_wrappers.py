"""One error below many wrappers is one cause."""

from time import process_time

import pytest

from revalid.jobs.result import Verdict
from revalid.producer.report.causes import find_causes
from revalid.producer.report.diagnosis import diagnose
from revalid.producer.report.wrappers import inner
from tests.producer.report.samples import failing

TYPE = "TypeError: Cannot read properties of undefined (reading 'x')"
CONNECTION = "Error: connect ECONNREFUSED 127.0.0.1:5432"
WRAPPERS = {
    "npm": "{}\nnpm error Lifecycle script `test` failed with error:\nnpm error code 1\n"
    "npm error path /w/packages/core\nnpm error workspace @r/core@1.0.0\nnpm error command failed",
    "pnpm": "packages/core test: {}\npackages/core test: Failed\n"
    "/w/packages/core:\n ERR_PNPM_RECURSIVE_RUN_FIRST_FAIL  @r/core@1.0.0 test: `node t.js`\n"
    " ELIFECYCLE  Test failed. See above for more details.",
    "yarn": "$ node t.js\n{}\nerror Command failed with exit code 1.\n"
    "info Visit https://yarnpkg.com/en/docs/cli/run for documentation about this command.",
    "bun": '$ node t.js\n{}\nerror: script "test" exited with code 1',
    "run-s": '{}\nERROR: "a" exited with 1.\nnpm error code 1',
    "concurrently": "[0] {}\n[0] node t.js exited with code 1",
    "turbo": "@r/core:test: {}\n@r/core:test: npm error code 1\n"
    "@r/core#test: command (/w/packages/core) npm run test exited (1)\n\n"
    " Tasks:    0 successful, 1 total\n ERROR  run failed: command  exited (1)",
    "lerna": "lerna ERR! npm run test exited 1 in '@r/core'\nlerna ERR! npm run test stderr:\n{}",
    "nx": "{}\n NX   Ran target test for project core\nFailed tasks:\n- core:test",
    "make": "{}\nmake[1]: *** [Makefile:2: x] Error 1\nmake: *** [Makefile:1: all] Error 2",
    "pip": "  error: subprocess-exited-with-error\n\n"
    "  \u00d7 Getting requirements to build wheel did not run successfully.\n"
    "  \u2502 exit code: 1\n  \u2570\u2500> [1 lines of output]\n      {}\n      [end of output]\n"
    "  note: This error originates from a subprocess, and is likely not a problem with pip.",
    "tox": "{}\npy311: exit 1 (0.50 seconds) /w> pytest\n  py311: FAIL code 1 (0.55 seconds)\n"
    "  evaluation failed :( (0.60 seconds)",
    "nox": "{}\nnox > Command pytest failed with exit code 1\nnox > Session t failed.",
    "composer": "{}\nScript phpunit handling the test event returned with error code 1",
    "maven": "[INFO] BUILD FAILURE\n[ERROR] {}\n[ERROR] Failed to execute goal a:b:c on project d\n"
    "[ERROR] -> [Help 1]\n[ERROR] Re-run Maven using the -X switch",
    "gradle": "{}\n\nFAILURE: Build failed with an exception.\n\n* What went wrong:\n"
    "Execution failed for task ':test'.\n> There were failing tests. See the report\n\n* Try:\n"
    "> Run with --stacktrace option\nBUILD FAILED in 2s",
}


@pytest.mark.parametrize("error", [TYPE, CONNECTION])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_inner_error_is_read(wrapper: str, error: str) -> None:
    text = WRAPPERS[wrapper].format(error)
    for output in (failing("a", "test", text), failing("a", "test", stderr=text)):
        assert diagnose(output).message == error


def test_two_errors_in_every_wrapper_are_two_causes() -> None:
    rows = [
        failing(f"{name}-{number}", "test", stderr=text.format(error))
        for name, text in WRAPPERS.items()
        for number, error in enumerate([TYPE, CONNECTION])
    ]
    causes = find_causes(rows)
    assert [cause.number for cause in causes] == [len(WRAPPERS)] * 2
    assert {cause.message for cause in causes} == {TYPE, CONNECTION}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("make: *** [Makefile:3: app] Error 1", "make: *** [Makefile:3: app] Error 1"),
        ("make: *** No rule to make target 'a'.", "make: *** No rule to make target 'a'."),
        (
            "error[E0308]: mismatched types\n --> src/main.rs:1:1\n\n"
            "error: could not compile `x` (bin) due to 1 previous error",
            "E0308: mismatched types",
        ),
        (
            "thread 't' (7) panicked at src/lib.rs:2:11:\nassertion `left == right` failed\n\n"
            "failures:\n    t\n\nerror: test failed, to rerun pass `--lib`",
            "assertion `left == right` failed",
        ),
        (
            "[ERROR] COMPILATION ERROR : \n[ERROR] /w/A.java:[1,27] cannot find symbol\n"
            "  symbol:   variable nope\n[INFO] BUILD FAILURE",
            "cannot find symbol",
        ),
        (
            "[ERROR] [ERROR] Some problems were encountered while processing the POMs:\n"
            "[FATAL] 'groupId' is missing. @ line 1, column 10",
            "'groupId' is missing. @ line 1, column 10",
        ),
        ("panic: assignment to entry in nil map\n\ngoroutine 1", "assignment to entry in nil map"),
        (
            "ZeroDivisionError: division by zero\n\n"
            "The above exception was the direct cause of the following exception:\n\n"
            "Traceback (most recent call last):\n  File a\n"
            "RuntimeError: could not start",
            "RuntimeError: could not start",
        ),
        ("building\ncat: nope.txt: No such file or directory", "cat: nope.txt: No such file or"),
        ("F401 [*] `os` imported but unused\n --> a.py:1:8\nFound 1 error.", "F401: `os` imported"),
        ("a.o: undefined reference to `f'\ncollect2: error: ld returned 1", "undefined reference"),
    ],
)
def test_a_language_names_its_own_error(text: str, message: str) -> None:
    assert diagnose(failing("a", "test", stderr=text)).message.startswith(message)


def test_what_a_project_without_a_strategy_holds_is_its_cause() -> None:
    error = (
        "no strategy fits this project: found none of package.json; it holds {}; give the commands"
    )
    held = ("Go (go vet ./...)", "Rust (cargo check)", "Go (go vet ./...)")
    rows = [
        failing(str(number), "test").model_copy(
            update={"verdict": Verdict.REJECTED, "steps": (), "error": error.format(what)}
        )
        for number, what in enumerate(held)
    ]
    assert sorted(cause.projects for cause in find_causes(rows)) == [("0", "2"), ("1",)]


def test_hostile_output_takes_linear_time() -> None:
    started = process_time()
    for text in ("exited " * 5_000, "a:test: " * 5_000, "/".join("ab" * 9_000), "[ERROR] " * 9_000):
        inner("\n".join([text] * 40))
    assert process_time() - started < 10
