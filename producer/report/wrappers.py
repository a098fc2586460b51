"""Removes what wrappers print around the error of the command that they run.

A workspace runner, a task runner or a build tool says that something failed; what failed stands
above. A wrapper's line is the same for every project, so it would put different causes into one.
"""

import re

_PREFIX = re.compile(
    r"(?:\[ERROR\] +(?=\S)|\[\d{1,3}\] | *(?:\u2502|\u2551) {1,6}"
    r"|\S{1,80}[: ](?:test|build|lint|check|typecheck|compile|start)[\w:-]{0,40}: {1,2}"
    r"|@?[\w.-]{1,60}(?:/[\w.-]{1,60})+: (?=\S))"
)
"""What pnpm, turbo, lerna, concurrently, pip and Maven put before each line."""
_PATTERNS = (
    # npm, pnpm, yarn, bun, and what runs scripts side by side
    r"npm (?:ERR!|error) (?:Lifecycle script|code (?:\d+|ELIFECYCLE)\b|errno \d|Exit status)",
    r"npm (?:ERR!|error) (?:path|workspace|location|command|Failed at the|A complete log)\b",
    r"\W{0,3}(?:ERR_PNPM_RECURSIVE_\w+|ERR_PNPM_\w*FIRST_FAIL|ELIFECYCLE)\b",
    r"error Command failed|info Visit https://yarnpkg\.com",
    r"(?:Exit code|Command|Arguments|Directory|Output): ?",
    r"(?:error|ERROR): (?:script )?\"[^\"]{1,200}\" exited with",
    r"(?:--> )?\S{1,200}(?: \S{1,200}){0,3} exited (?:with code )?\d",
    # turbo, nx, lerna
    r"\s*(?:ERROR {1,4})?(?:run failed: )?command .{0,300} exited \(\d",
    r"\s*ERROR  .{0,300}(?:run failed|exited \(\d)",
    r"\s*(?:Tasks|Cached|Time|Failed): {2}",
    r"\S{1,100}:\w{1,40}: (?:ERROR: )?command finished with error",
    r"\s*(?:NX|\u2716|\u2717|\u274c) {1,4}(?:Running target|Ran target|nx run|.{0,100}failed)",
    r"\s*(?:Failed tasks:|- \S{1,100}:\w{1,40}$|Hint: run the command with --verbose)",
    r"lerna (?:ERR!|info|notice|WARN)",
    # make, ninja, the linker's driver
    r"\S{0,20}make(?:\[\d{1,3}\])?: (?:\*\*\* \[.{1,300}\] |Entering |Leaving )",
    r"ninja: build stopped|collect2: error: ld returned",
    # pip, uv
    r"\s*(?:error|ERROR): (?:subprocess-exited-with-error|metadata-generation-failed)",
    r"\s*(?:error|ERROR): (?:Failed (?:building wheel|to build)|failed-wheel-build)",
    r"\s*(?:error|ERROR): Could not build ",
    r"\s*(?:\u00d7|\u2570\u2500>|\u2502 exit code|\[end of output\]|note: This |hint: See above)",
    r"\s*(?:exit code: \d|Traceback \(most recent call last\))",
    r"\s*(?:\u251c\u2500\u25b6|\u2570\u2500\u25b6|cause:) .{0,100}build backend returned",
    r"\s*(?:\u251c\u2500\u25b6|\u2570\u2500\u25b6|cause:) .{0,100}failed \(exit (?:status|code)",
    # tox, nox
    r"\s*[\w.-]{1,60}: (?:exit -?\d+ \(|FAIL(?:ED)? |commands\[)|\s*evaluation failed",
    r"nox > (?:Command .{0,400} failed|Session |\* )",
    # cargo, go
    r"error: (?:could not compile|test failed, to rerun|aborting due to|\d+ targets? failed)",
    r"failures:$|For more information about this error|note: run with `RUST_BACKTRACE",
    r"(?:FAIL|ok)(?:\t|$)|--- FAIL: |exit status \d",
    # Maven, Gradle
    r"\[ERROR\] (?:Some problems were encountered|The build could not read|The project )",
    r"\[ERROR\] (?:Failed to execute goal|-> \[Help|To see the full|Re-run Maven|For more info)",
    r"\[ERROR\] (?:\[Help|Please refer|There are test failures|COMPILATION ERROR|After correcting)",
    r"\[ERROR\] (?:Failures:|Errors:|Tests run:|See |$)|\[INFO\] |-{20,}",
    r"FAILURE: Build failed|BUILD (?:FAILURE|FAILED)|Execution failed for task",
    r"\* (?:What went wrong|Try|Exception is):",
    r"> (?:There were failing|Compilation failed|Run with|Get more)",
    # composer, rake, CI
    r"Script .{1,300} returned with error code|rake aborted!|Command failed with status",
    r"(?:Error: )?Process completed with exit code",
)
_WRAPPER = re.compile("|".join(_PATTERNS))
_LINES, _LINE = 4_000, 2_000


def inner(output: str) -> str:
    """Return an output without the lines of wrappers, and without what they put before others."""
    lines = []
    for line in output.split("\n")[:_LINES]:
        cut = line[:_LINE]
        if _WRAPPER.match(cut):
            continue
        prefix = _PREFIX.match(cut)
        text = line[prefix.end() :] if prefix else line
        if prefix and _WRAPPER.match(text[:_LINE]):
            continue
        lines.append(text)
    return "\n".join(lines)
