"""Prints a result: its steps, the output of failed steps, and the verdict."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from revalid.jobs.result import (
    JobResult,
    Proven,
    SandboxReport,
    StepResult,
    StepStatus,
    StrategyReport,
    Verdict,
)
from revalid.producer.cli.output import BAD_INPUT, FAILED, OUR_SIDE
from revalid.producer.sanitize import cached, clean, one_line, seconds

STATUS = {
    Verdict.PASSED: 0,
    Verdict.FAILED: FAILED,
    Verdict.INCOMPLETE: FAILED,
    Verdict.TIMED_OUT: FAILED,
    Verdict.CANCELLED: FAILED,
    Verdict.REJECTED: BAD_INPUT,
    Verdict.ERRORED: OUR_SIDE,
}
"""Exit status of each verdict."""

_STYLE = {Verdict.PASSED: "green", Verdict.INCOMPLETE: "yellow"}
_DASH = "\u2013"
_NAME_CELLS = 40
_OUTPUT_LINES = 60


def name_width(names: Iterable[str]) -> int:
    """Return the width to which step names are padded, in cells."""
    return min(_NAME_CELLS, max((cell_len(one_line(name)) for name in names), default=0))


def print_fact(console: Console, label: str, fact: str, remark: str = "") -> None:
    """Print a fact after its label; a terminal wraps long facts in their own column."""
    text = Text.assemble(one_line(fact), (remark, "yellow"))
    if not console.is_terminal:
        console.print(Text.assemble(f"  {label:<8}  ", text))
        return
    columns = Table.grid(padding=(0, 2))
    columns.add_row(Text(f"  {label:<8}", "dim"), text)
    console.print(columns, soft_wrap=False)


def proven_words(proven: Iterable[Proven]) -> str:
    """Return what was proven in one line; what several steps proved is counted."""
    number = Counter(proof.words for proof in proven)
    return " · ".join(f"{words} ({n} steps)" if n > 1 else words for words, n in number.items())


def strategy_words(report: StrategyReport) -> tuple[str]:
    """Describe the strategy that made the steps, and its reason."""
    return (f"{report.name}: {report.reason}" if report.reason else report.name,)


def sandbox_words(report: SandboxReport, image: str) -> tuple[str, str]:
    """Describe the sandbox that runs the steps; the second string is a warning about a fallback."""
    kind = report.kind or "none"
    where = f"{kind}, {image}" if kind == "dagger" and image else kind
    if not report.fallback_reason:
        return where, ""
    return where, ", because no Dagger engine answers; `revalid doctor` says why"


def step_line(step: StepResult, width: int) -> Text:
    """Format one step: mark, name, time and remarks."""
    name = one_line(step.name)
    if step.status is StepStatus.SKIPPED:
        reason = one_line(step.skipped_reason or "")
        return Text.assemble("  ", (_DASH, "dim"), f" {name}  ", (f"skipped: {reason}", "dim"))
    passed = step.status is StepStatus.PASSED
    mark = ("✓", "green") if passed else ("✗", "red")
    padding = " " * max(0, width - cell_len(name))
    line = Text.assemble("  ", mark, f" {name}{padding}", (f"  {seconds(step.duration_s)}", "dim"))
    if not passed:
        line.append(f"  {step.outcome}", "red")
    if step.allow_failure and not passed:
        line.append(", may fail", "dim")
    if passed and step.render is not None:
        words = step.render.problem or step.render.not_judged
        line.append(f"  render: {one_line(words)}" if words else "", "yellow")
    if step.cached:
        line.append(f"  {cached(step)}", "dim")
    return line


def print_verdict(console: Console, result: JobResult) -> None:
    """Print failed steps, notes and the verdict."""
    failed = [step for step in result.steps if not step.ok]
    for step in failed:
        _print_failure(console, step, result.id)
    console.print()
    if result.proven:
        print_fact(console, "proven", proven_words(result.proven))
    for missing in result.unproven:
        if missing.decides:
            print_fact(console, "unproven", "", one_line(missing.words))
    if others := [missing for missing in result.unproven if not missing.decides]:
        # Their reasons stand beside the steps.
        names = dict.fromkeys(missing.step or str(missing.check) for missing in others)
        print_fact(console, "unproven", f"{', '.join(names)}, which did not decide")
    if pictures := [name for step in result.steps for name in step.screenshots]:
        more = f" and {len(pictures) - 1} more" if pictures[1:] else ""
        print_fact(console, "pages", f"{pictures[0]}{more}: revalid artifacts {result.id}")
    for note in result.notes:
        print_fact(console, "note", note)
    if result.tools:
        print_fact(console, "tools", ", ".join(map(" ".join, result.tools.items())))
    if weak := [
        name for name, enforcement in result.enforcement.items() if enforcement == "not_enforced"
    ]:
        print_fact(console, "limits", f"not enforced: {', '.join(weak)}")
    console.print(_verdict_line(result, failed))
    if result.reused:
        ended = result.finished_at.astimezone().strftime("%Y-%m-%d %H:%M")
        console.print(Text(f"the verdict of {ended}: nothing changed since; --fresh runs it again"))


def _verdict_line(result: JobResult, failed: Sequence[StepResult]) -> Text:
    word = result.verdict.replace("_", " ")
    line = Text.assemble((word, f"bold {_STYLE.get(result.verdict, 'red')}"))
    if result.duration_s is not None:
        line.append(f" in {seconds(result.duration_s)}")
    if result.error:
        line.append(f": {one_line(result.error)}")
    elif failed:
        line.append(": " + ", ".join(one_line(step.name) for step in failed))
    elif result.explanation:
        line.append(f": {one_line(result.explanation)}")
    return line


def _print_failure(console: Console, step: StepResult, job_id: str) -> None:
    console.print()
    name = one_line(step.name)
    console.print(Text.assemble(("✗ ", "red"), (name, "bold"), f"  {step.outcome}"))
    command = clean(step.command or "").strip()
    if command and command != name:
        for number, line in enumerate(command.split("\n")):
            console.print(Text(f"  {'$' if number == 0 else '>'} {line}", "dim"))
    out, err = _lines(step.stdout), _lines(step.stderr)
    # Each stream gets half of the lines, or more if the other one is short.
    err_kept = err[-max(_OUTPUT_LINES // 2, _OUTPUT_LINES - len(out)) :]
    out_kept = out[-(_OUTPUT_LINES - len(err_kept)) :]
    hidden = len(out) - len(out_kept) + len(err) - len(err_kept)
    if hidden or step.truncated:
        more = f"{hidden} more lines" if hidden else "more"
        console.print(Text(f"  … {more}; revalid logs {job_id}", "dim"))
    for label, lines in (("stdout", out_kept), ("stderr", err_kept)):
        if lines and out_kept and err_kept:
            console.print(Text(f"  {label}:", "dim"))
        for line in lines:
            console.print(Text(f"  {line}"))
    if not out and not err:
        console.print(Text("  it wrote nothing", "dim"))


def _lines(text: str) -> list[str]:
    """Split into lines, without blank lines at either end."""
    cleaned = clean(text).strip("\n")
    return [line.rstrip() for line in cleaned.split("\n")] if cleaned.strip() else []
