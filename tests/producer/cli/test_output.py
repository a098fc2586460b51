import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.errors import InvalidJob
from jobs.events import Event
from jobs.job import LimitName
from jobs.result import JobResult, SandboxReport, StepResult, StrategyReport, Verdict
from jobs.steps import Exec, WriteFile
from producer.cli import progress as progress_module
from producer.cli.progress import Progress
from producer.cli.trajectory import read_trajectory
from producer.cli.verdict import STATUS, print_verdict, step_line
from producer.text import clean, one_line, seconds

START = datetime(2026, 1, 1, tzinfo=UTC)


def console() -> Console:
    return Console(file=io.StringIO(), highlight=False, markup=False, emoji=False, soft_wrap=True)


def printed(made: Console) -> str:
    assert isinstance(made.file, io.StringIO)
    return made.file.getvalue()


def result(verdict: Verdict, *steps: StepResult, **fields: Any) -> JobResult:
    return JobResult(
        id="cafe",
        verdict=verdict,
        image="busybox",
        attempts=1,
        queued_at=START,
        started_at=START,
        finished_at=START + timedelta(seconds=2.5),
        steps=steps,
        **fields,
    )


def verdict_of(found: JobResult) -> str:
    out = console()
    print_verdict(out, found)
    return printed(out)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext — ünïcode", "plain\ttext — ünïcode"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[Hcleared\x1bc", "cleared"),
        ("\x9b31mC1", "C1"),
        ("10%\r50%\r100%\nnext", "100%\nnext"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("bell\x07 back\x08 del\x7f", "bell back del"),
        ("user\u202enimda", "usernimda"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
    ],
)
def test_a_projects_text_cannot_command_the_terminal(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_one_line_is_one() -> None:
    assert one_line("a\n  b\r\nc\x1b[0m") == "a b c"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (65, "1 min 05 s"),
        (119.7, "2 min 00 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_as_people_say_them(value: float, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"exit_code": 0, "duration_s": 1.25}, "  ✓ check   1.2 s"),
        ({"exit_code": 2}, "  ✗ check   0.0 s  exit 2"),
        ({"exit_code": 137, "timed_out": True}, "  ✗ check   0.0 s  timed out"),
        (
            {"exit_code": 137, "killed_by": "memory", "killed_at": "8 GiB"},
            "  ✗ check   0.0 s  over its memory limit of 8 GiB",
        ),
        ({"exit_code": 1, "allow_failure": True}, "  ✗ check   0.0 s  exit 1, may fail"),
        ({"exit_code": 0, "cached": True}, "  ✓ check   0.0 s  cached"),
        ({"skipped_reason": "no script"}, "  \u2013 check  skipped: no script"),
    ],
)
def test_a_step_in_a_line(fields: dict[str, Any], shown: str) -> None:
    assert step_line(StepResult(name="check", **fields), 6).plain == shown


def test_a_failure_shows_its_command_and_the_output_that_says_why() -> None:
    step = StepResult(
        name="types",
        command="cd client\ntsc [bold]",
        exit_code=2,
        stdout="a.ts(1,2): error [red]TS1[/red]\n",
        stderr="\x1b[31mnpm error\x1b[0m\n",
    )
    ok = StepResult(name="build", command="make", exit_code=0, stdout="built")
    shown = verdict_of(result(Verdict.FAILED, ok, step))
    assert shown == (
        "\n✗ types  exit 2\n"
        "  $ cd client\n"
        "  > tsc [bold]\n"
        "  stdout:\n"
        "  a.ts(1,2): error [red]TS1[/red]\n"
        "  stderr:\n"
        "  npm error\n"
        "\n"
        "failed in 2.5 s: types\n"
    )


@pytest.mark.parametrize(("out", "err"), [(500, 0), (0, 500), (500, 500), (500, 3), (3, 500)])
def test_much_output_is_cut_to_its_end(out: int, err: int) -> None:
    step = StepResult(
        name="test",
        exit_code=1,
        stdout="".join(f"out{n}.\n" for n in range(out)),
        stderr="".join(f"err{n}.\n" for n in range(err)),
    )
    shown = verdict_of(result(Verdict.FAILED, step))
    kept = re.findall(r"(?:out|err)\d+\.", shown)
    assert len(kept) == 60
    assert f"… {out + err - 60} more lines; revalid logs cafe" in shown
    for name, number in (("out", out), ("err", err)):
        if number:
            assert f"{name}{number - 1}." in shown


def test_a_failure_that_wrote_nothing_says_so() -> None:
    assert "it wrote nothing" in verdict_of(
        result(Verdict.FAILED, StepResult(name="test", exit_code=1, stdout=" \n"))
    )


def test_notes_tools_errors_and_reuse_are_told() -> None:
    shown = verdict_of(
        result(
            Verdict.REJECTED,
            error="secret A is not allowed",
            notes=("no lockfile",),
            tools={"node": "20.1", "npm": "10"},
            reused=True,
        )
    )
    assert "note      no lockfile\n" in shown
    assert "tools     node 20.1, npm 10\n" in shown
    assert "rejected in 2.5 s: secret A is not allowed\n" in shown
    assert "--fresh runs it again" in shown


def test_only_limits_that_do_not_hold_are_told() -> None:
    holds: dict[str, Any] = {"enforcement": {"time": "enforced", "memory": "enforced"}}
    assert "limits" not in verdict_of(result(Verdict.PASSED, **holds))
    holds["enforcement"] |= {"memory": "not_enforced", "disk": "not_enforced"}
    shown = verdict_of(result(Verdict.PASSED, **holds))
    assert "  limits    not enforced: memory, disk\n" in shown


def test_a_limit_that_ended_a_step_is_named_with_its_failure() -> None:
    step = StepResult(name="test", exit_code=137, killed_by=LimitName.DISK, killed_at="5 GiB")
    shown = verdict_of(result(Verdict.FAILED, step))
    assert "✗ test  over its disk limit of 5 GiB\n" in shown


def test_every_verdict_has_its_exit_status() -> None:
    assert {verdict.value: STATUS[verdict] for verdict in Verdict} == {
        "passed": 0,
        "failed": 1,
        "timed_out": 1,
        "cancelled": 1,
        "rejected": 2,
        "errored": 3,
    }


def event(type_: str, **data: Any) -> Event:
    return Event("1-0", type_, data)


def finished(index: int, name: str, code: int | None = 0, **data: Any) -> Event:
    fields = {"exit_code": code, "duration_s": 0.5, "ok": code in (0, None), **data}
    return event("step_finished", index=index, name=name, **fields)


def test_progress_without_a_terminal_is_plain_lines() -> None:
    out = console()
    with Progress(out, live=False) as progress:
        progress.show(
            [
                event("queued"),
                event("started", worker="w", attempt=1),
                event("sandbox", kind="local", fallback_reason="no engine", image="busybox"),
                event("plan", strategy="npm", reason="package.json", steps=["build", "test"]),
                event("step_started", index=0, name="build", command="make"),
                event("output", index=0, stream="stdout", text="one\ntw"),
                event("output", index=0, stream="stderr", text="\x1b[31mwarning\x1b[0m\n"),
                event("output", index=0, stream="stdout", text="o\n\nthree"),
                finished(0, "build"),
                finished(1, "test", None, skipped_reason="no test script"),
                event("finished", verdict="passed"),
            ]
        )
    assert printed(out) == (
        "  sandbox   local, instead of a container: no engine\n"
        "  strategy  npm: package.json\n"
        "    build │ one\n"
        "    build │ warning\n"
        "    build │ two\n"
        "    build │ three\n"
        "  ✓ build  0.5 s\n"
        "  \u2013 test  skipped: no test script\n"
    )


def test_progress_tells_what_no_event_told_and_nothing_twice() -> None:
    out = console()
    with Progress(out, live=False) as progress:
        progress.show(
            [
                event("plan", strategy="npm", reason="", steps=["build", "test"]),
                finished(0, "build", 1),
            ]
        )
        progress.settle(
            result(
                Verdict.FAILED,
                StepResult(name="build", exit_code=1, duration_s=0.5),
                StepResult(name="test", exit_code=0, duration_s=1),
                sandbox=SandboxReport(kind="dagger"),
                strategy=StrategyReport(name="npm"),
            )
        )
    assert printed(out) == (
        "  strategy  npm\n  ✗ build  0.5 s  exit 1\n  sandbox   dagger, busybox\n  ✓ test   1.0 s\n"
    )


def test_progress_of_a_second_attempt_starts_over() -> None:
    out = console()
    plan = event("plan", strategy="npm", reason="", steps=["build"])
    with Progress(out, live=False) as progress:
        progress.show([plan, finished(0, "build"), event("requeued")])
        progress.show([event("started", worker="w", attempt=2), plan, event("cancelling")])
        progress.settle(result(Verdict.PASSED, StepResult(name="build", exit_code=0)))
    assert printed(out) == (
        "  strategy  npm\n"
        "  ✓ build  0.5 s\n"
        "  its worker gave the job back\n"
        "  attempt 2: from the start\n"
        "  cancelling\n"
        "  ✓ build  0.0 s\n"
    )


def test_progress_hints_once_where_no_worker_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_IMPATIENT_S", -1)
    out = console()
    with Progress(out, live=False, hint="start one") as progress:
        progress.tick()
        progress.show([event("queued")])
        progress.tick()
        progress.show([event("requeued")])
    assert printed(out) == "  start one\n  its worker gave the job back\n"


def test_progress_passes_over_events_of_a_later_version() -> None:
    out = console()
    with Progress(out, live=False) as progress:
        progress.show([event("weather", sky="blue")])
    assert printed(out) == ""


def test_a_trajectory_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"op": "write_file", "path": "a", "content": "é\u2028x"}\n\n{"op": "exec", "command": "b"}'
    )
    assert read_trajectory(file) == [
        WriteFile(path="a", content="é\u2028x"),
        Exec(command="b"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"op": "exec", "command": "a"}\n{"op": ', "line 2: not JSON"),
        ('{"op": "fly"}', "line 1: Input tag 'fly'"),
        ('{"op": "exec"}', "line 1: exec.command: Field required"),
        ("[" * 100_000, "line 1: not JSON"),
        ("\n \n", "no step in it"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_line_that_is_no_step_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidJob, match=re.escape(f"trajectory {file}") + ".*" + re.escape(said)):
        read_trajectory(file)
