"""Finds the line in a failure's output that names the error."""

import re
from dataclasses import dataclass

from revalid.jobs.job import StrategyName
from revalid.jobs.result import StepResult, Verdict
from revalid.producer.report.model import Row
from revalid.producer.report.wrappers import inner
from revalid.producer.sanitize import clean, one_line, seconds

_READ = 16_384
_MESSAGE = 400
_CHECKS = {"setup", "install", "compile", "build", "typecheck", "lint", "test"}
_GIVEN = {StrategyName.COMMAND.value, StrategyName.TRAJECTORY.value}
_NPM = r"npm (?:ERR!|error)"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The error of a failed row.

    Attributes:
        check: The kind of the failed check, or the row's state if no check failed.
        code: The error's code, such as ``TS2322``; empty if it has none.
        message: The line of output with the error.
    """

    check: str
    code: str
    message: str


def _rule(hint: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return hint, re.compile(pattern, re.MULTILINE)


_RULES = (
    _rule("heap out of memory", r"(?P<text>JavaScript heap out of memory)"),
    _rule("MemoryError", r"^(?:E +)?(?P<text>MemoryError\b.*)"),
    _rule(
        "direct cause of the following",
        r"direct cause of the following exception:\n\n(?:(?![A-Za-z_]).*\n)*"
        r"(?P<text>[A-Za-z_][\w.]*(?:Error|Exception)\b.*)",
    ),
    _rule("[FATAL] ", r"\[FATAL\] (?P<text>.+)"),
    _rule("panicked at", r"panicked at [^\n]+:\n(?P<text>.+)"),
    _rule("panic: ", r"^panic: (?P<text>.+?)(?: \[recovered.*)?$"),
    _rule("undefined reference", r"(?P<text>undefined reference to .+)"),
    _rule("error TS", r"error (?P<code>TS\d+): (?P<text>.+)"),
    # npm names the error first and explains it some lines later.
    _rule(
        " code E",
        rf"{_NPM} code (?P<code>E(?!LIFECYCLE)[A-Z0-9]+)\n"
        rf"(?:{_NPM}(?: (?:syscall|path|errno|dest|command|file)\b.*+|[ \t]*+)\n)*"
        rf"{_NPM} (?:(?:notarget|enoent|404|E[A-Z]+) +)?(?P<text>.+)",
    ),
    _rule("Missing script", r"(?P<text>Missing script: .+)"),
    _rule("ERR_PNPM_", r"\b(?P<code>ERR_PNPM_\w++)\s++(?P<text>.+)"),
    _rule("YN00", r"(?P<code>YN00(?:01|09|28|35|41|80|81|82)): [│└ ]*(?P<text>.+)"),
    _rule("No matching distribution", r"(?P<text>No matching distribution found for .+)"),
    _rule("No solution found", r"(?P<text>No solution found when .+)"),
    _rule("failed to resolve import", r"(?P<text>(?:Rollup f|F)ailed to resolve import .+)"),
    _rule("is not exported by", r"(?<!\S)(?P<text>\S++ is not exported by .+)"),
    _rule("ould not resolve", r"(?P<text>Could not resolve:? (?!dependency).+)"),
    _rule("ERROR: ", r"^\S+:\d+:\d+: ERROR: (?P<text>.+)"),
    _rule("[ERROR] ", r"\[ERROR\] (?P<text>.+)"),
    _rule(".java:[", r"^\S+\.java:\[\d+,\d+\] (?:error: )?(?P<text>.+)"),
    _rule("error[E", r"^error\[(?P<code>E\d+)\]: (?P<text>.+)"),
    _rule("would reformat ", r"^(?P<text>would reformat .+)"),
    _rule("Code style issues", r"(?P<text>Code style issues .+)"),
    _rule(" --> ", r"^(?P<code>[A-Z]{1,4}\d{2,4})(?: \[\*\])? (?P<text>.+)\n +--> "),
    _rule("[fail]: ", r"^ {2}(?P<text>Difference .+|.*Error: .+)"),
    _rule("Module not found", r"(?P<text>Module not found: .+)"),
    _rule(": error: ", r"^(?>.*?: error: )(?P<text>.+?)  \[(?P<code>[a-z][a-z0-9-]++)\]$"),
    _rule("(report", r"^(?>.*?error: )(?P<text>.+?) \((?P<code>report\w++)\)$"),
    _rule(" error ", r"^ ++\d++:\d++ ++error ++(?P<text>.+)  (?P<code>[@\w/-]++)$"),
    _rule("E  ", r"^E {3,}(?P<text>\S.*)"),
    _rule(
        "Expected values to be",
        r"^(?>.*?(?=Expected values to be ))(?P<text>.*equal:(?:\s++\S++ !== .+)?)",
    ),
    _rule("AssertionError", r"\b(?P<text>AssertionError(?: \[ERR_ASSERTION\])?: .+)"),
    _rule("failureType: 't", r"failureType: 'test\w+'\n +error: (?:\|-?\n +)?'?(?P<text>.+)"),
    _rule("expect(", r"^ *(?:error: )?(?P<text>expect\(.+)"),
    _rule("imed out in", r"(?P<text>(?:Test|Hook) timed out in .+)"),
    _rule("No test", r"(?P<text>No test(?: file)?s found.*)"),
    _rule(
        "not found",
        r"(?:^|\s)(?:\S*sh)(?:: line \d+|: \d+)?: (?P<text>\S+: (?:command )?not found)",
    ),
    _rule("Cannot find", r"(?P<text>Cannot find (?:module|package) .+)"),
    _rule(
        "Error",
        r"(?<![\w.])(?P<text>(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*)?(?:Error|Exception)(?: \[\w+\])?: .+)",
    ),
    _rule("error during build", r"error during build:\n(?P<text>.+)"),
    _rule("error: ", r"^(?:.*[ :])?error: (?!script |Lifecycle)(?P<text>.+)"),
)
"""Rules, the most precise first. A rule is tried only if its hint occurs in the output."""

_UNFIT = re.compile(r"no strategy fits this project: .{1,400}?; (it holds .{1,300}?); give the ")
"""A project that no strategy fits; such projects are one cause only if they hold the same."""
_EXCEPTION = re.compile(r"((?:\w+\.)*\w*(?:Error|Exception))(?: \[(\w+)\])?: (?=\S)")
_ERROR_WORDS = re.compile(
    r"\b(?:error|fatal|failed|failure|cannot|not found|no such|denied)\b", re.IGNORECASE
)
_NOISE = re.compile(
    rf"\s*$|\s*at |> |\$ |npm (?:warn|notice|WARN)|{_NPM}\s*$|error: script |\[revalid: "
    rf"|{_NPM} (?:Lifecycle|A complete log|code|path|workspace|location|command|errno)"
)


def diagnose(row: Row) -> Diagnosis:
    """Diagnose a failed row."""
    step = failed_step(row)
    if step is None or row.verdict not in (Verdict.FAILED, Verdict.TIMED_OUT):
        held = _UNFIT.search(row.error or "")
        return Diagnosis(
            row.state, held[1] if held else "", _bounded(row.error or _without_step(row))
        )
    check = check_kind(step.name, row.strategy)
    if step.timed_out:
        return Diagnosis(check, "timed out", f"timed out after {seconds(step.duration_s)}")
    if step.over_limit:
        return Diagnosis(check, f"{step.limit_exceeded}", step.over_limit)
    output = f"{_excerpt(step.stderr)}\n{_excerpt(step.stdout)}"
    inner_output = inner(output)
    if (found := _by_rule(check, inner_output)) is not None:
        return found
    if step.exit_code == 137:
        return Diagnosis(check, "137", "killed, as where memory runs out (exit 137)")
    if line := _error_line(inner_output):
        return _make_diagnosis(check, "", line)
    if (found := _by_rule(check, output)) is not None:
        return found
    if line := _error_line(output) or _last_line(inner_output) or _last_line(output):
        return _make_diagnosis(check, "", line)
    return Diagnosis(check, "silent", f"exit {step.exit_code}, and nothing that tells why")


def _by_rule(check: str, output: str) -> Diagnosis | None:
    for hint, pattern in _RULES:
        if hint in output and (match := pattern.search(output)):
            return _make_diagnosis(check, match.groupdict().get("code") or "", match["text"])
    return None


def failed_step(row: Row) -> StepResult | None:
    """Return the failed step of a row, or None if the row has no steps."""
    return next((step for step in row.steps if not step.ok), None)


def check_kind(name: str, strategy: str | None) -> str:
    """Return the kind of check of a step: ``typecheck client`` is a ``typecheck``."""
    name = re.sub(r"^cd \S+ && ", "", one_line(name))
    first = name.partition(" ")[0]
    return first if first in _CHECKS and strategy not in _GIVEN else name[:80]


def _without_step(row: Row) -> str:
    reached = next((s.skipped_reason for s in row.steps if "limit" in (s.skipped_reason or "")), "")
    if row.verdict is Verdict.TIMED_OUT:
        return reached or "the job's limit was reached"
    where = f": {row.failed_step}" if row.failed_step else ""
    return f"{row.state.replace('_', ' ')}{where}"


def _make_diagnosis(check: str, code: str, text: str) -> Diagnosis:
    message = _bounded(text)
    if not code and (named := _EXCEPTION.match(message)):
        return Diagnosis(check, named[2] or named[1], message)
    return Diagnosis(check, code, f"{code}: {message}" if code else message)


def _error_line(output: str) -> str:
    """Return the first line that looks like an error; empty if there is none."""
    return next((line for line in _telling_lines(output) if _ERROR_WORDS.search(line)), "")


def _last_line(output: str) -> str:
    """Return the last line that is not noise; empty if there is none."""
    lines = _telling_lines(output)
    return lines[-1] if lines else ""


def _telling_lines(output: str) -> list[str]:
    return [line for line in output.split("\n") if not _NOISE.match(line)]


def _excerpt(text: str) -> str:
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    return clean(text) if "\x1b" in text or "\r" in text else text


def _bounded(text: str) -> str:
    line = one_line(text[: 4 * _MESSAGE])
    return line if len(line) <= _MESSAGE else f"{line[:_MESSAGE]}…"
