"""Plans: the values that a strategy returns."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from revalid.jobs.checks import CheckName
from revalid.jobs.job import Job
from revalid.jobs.result import Unproven
from revalid.jobs.steps import Exec, Step
from revalid.worker.services import NeededService
from revalid.worker.serving import Probe

REPORT = "${TMPDIR:-/tmp}/revalid-tests"
"""The report that a runner writes for us, as a word of a command; a suffix says its format."""


@dataclass(frozen=True, slots=True)
class TestRun:
    """What is known of a command that runs tests.

    Attributes:
        runner: The one runner that it calls; None if it may call several, or an unknown one.
        reporting: The command that also has the runner write :data:`REPORT`; empty where it cannot.
        hides_failures: Whether it can exit with 0 although its tests failed.
    """

    __test__: ClassVar[bool] = False

    runner: str | None = None
    reporting: str = ""
    hides_failures: bool = False


UNKNOWN = TestRun()
"""A command of which nothing is known."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its dependencies and its conditions of reuse.

    Attributes:
        depends_on: Names of earlier steps that must succeed first and whose files this step uses.
        after: Names of earlier steps whose files this step uses if they are there.
        check: What the step is to prove; None for a step that proves nothing by itself.
        skipped_reason: Why planning decided not to run the step; None if it runs.
        absent: Whether the project does not have the check of a skipped step, so that nothing is
            left unproven that it could prove.
        install: Whether the step installs tools or dependencies.
        cacheable: Whether its inputs decide the outcome, so that a snapshot may replace the run.
        inputs: Files that the install can see; None for the whole project.
        services: What runs beside the step, fresh for it.
        test_run: What is known of the tests that it runs.
        probe: What to ask the server that the step starts; None if it starts none.
        parallel: Whether the step may run in a fork: no later step uses its files.
        dockerfile: The path of a file whose image the step builds, instead of running its command.
    """

    step: Step
    depends_on: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    check: CheckName | None = None
    skipped_reason: str | None = None
    absent: bool = False
    install: bool = False
    cacheable: bool = False
    inputs: tuple[str, ...] | None = None
    services: tuple[NeededService, ...] = ()
    probe: Probe | None = None
    test_run: TestRun = UNKNOWN
    parallel: bool = False
    dockerfile: str = ""

    @property
    def name(self) -> str:
        """The name of the step's command; empty for another step."""
        return (self.step.name or "") if isinstance(self.step, Exec) else ""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the steps of a plan run on.

    Attributes:
        language: A language of the table of images.
        wanted: The versions that the project asks for; empty for any.
        source: The file that asks.
        is_exact: Whether ``wanted`` is one release, and no other one will do.
    """

    language: str
    wanted: str = ""
    source: str = ""
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a job.

    Attributes:
        strategy: The strategy that made the plan; never ``auto``.
        reason: What the strategy found in the project.
        tools: Shell commands whose versions the result lists.
        notes: Sentences for the reader of the result.
        stop_on_failure: Whether no step runs after a failed one.
        image: The container image in which the steps run; empty to choose one.
        runtime: What the steps run on, by which the image is chosen; None for Node or Python.
        job: The job with what the project's configuration asks for; None before that is known.
        left_out: What is left unproven besides steps.
        counts_commands: Whether tests that commands of the configuration report count for the tests
            that the job expects.
        weakens_flaky: The file of a configuration that lets flaky tests pass; empty if none does.
    """

    strategy: str
    reason: str
    steps: tuple[PlannedStep, ...]
    tools: tuple[str, ...]
    notes: tuple[str, ...] = ()
    stop_on_failure: bool = False
    image: str = ""
    runtime: Runtime | None = None
    job: Job | None = None
    left_out: tuple[Unproven, ...] = ()
    counts_commands: bool = True
    weakens_flaky: str = ""


def check(
    check_name: CheckName,
    name: str,
    command: str,
    depends_on: tuple[str, ...] = (),
    *,
    allow_failure: bool = False,
    parallel: bool = True,
    test_run: TestRun = UNKNOWN,
) -> PlannedStep:
    """Return a step that decides on the project's verdict, unless ``allow_failure``."""
    step = Exec(name=name, command=command, allow_failure=allow_failure)
    return PlannedStep(step, depends_on, check=check_name, parallel=parallel, test_run=test_run)


def skipped(
    check_name: CheckName, name: str, command: str, reason: str, *, absent: bool
) -> PlannedStep:
    """Return a step that does not run.

    Args:
        command: The command that would have run.
        reason: Why it does not run.
        absent: Whether the project does not have this check.
    """
    step = Exec(name=name, command=command)
    return PlannedStep(step, check=check_name, skipped_reason=reason, absent=absent)


def guard(tool: str) -> str:
    """Return a line that ends a command where a tool is missing, as a shell would call it."""
    return f'command -v {tool} >/dev/null || {{ echo "{tool}: not found" >&2; exit 127; }}\n'


def install(
    command: str,
    name: str = "install",
    *,
    cacheable: bool = False,
    inputs: Iterable[str] | None = None,
) -> PlannedStep:
    """Return a step that installs dependencies.

    Args:
        cacheable: Whether a lockfile decides everything that is installed.
        inputs: Files that the install can see; None for the whole project.
    """
    return PlannedStep(
        Exec(name=name, command=command),
        check=CheckName.INSTALL,
        install=True,
        cacheable=cacheable,
        inputs=None if inputs is None else tuple(sorted(inputs)),
    )


def cd(directory: str) -> str:
    """Return the command that enters a directory of the project; its name is no option."""
    return f"cd {shlex.quote(f'./{directory}' if directory.startswith('-') else directory)}"


def within(planned: PlannedStep, directory: str) -> PlannedStep:
    """Return the step so that it runs in a directory of the project, under a name of its own."""
    step, test_run = planned.step, planned.test_run
    if directory == "." or not isinstance(step, Exec):
        return planned

    def run(command: str) -> str:
        return f"{cd(directory)} && {{ {command}; }}"

    if test_run.reporting:
        test_run = replace(test_run, reporting=run(test_run.reporting))
    own = {"name": f"{step.name} {directory}", "command": run(step.command)}
    return replace(
        planned,
        step=step.model_copy(update=own),
        depends_on=tuple(f"{name} {directory}" for name in planned.depends_on),
        after=tuple(f"{name} {directory}" for name in planned.after),
        inputs=planned.inputs and tuple(f"{directory}/{name}" for name in planned.inputs),
        test_run=test_run,
    )
