"""The options of a job, defined once for both clients, batches and the command line."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypedDict

from revalid.jobs.checks import ChosenCheck
from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import Axis, Lane, Limits, PlugInName, SandboxPolicy, StrategyName
from revalid.jobs.services import Service
from revalid.jobs.steps import Step

Strategy = (
    StrategyName
    | PlugInName
    | Literal["auto", "trpc", "npm", "python", "go", "rust", "java", "php", "ruby", "dotnet"]
    | Literal["deno", "static", "dockerfile", "command", "trajectory"]
)
Sandbox = SandboxPolicy | Literal["local", "auto", "dagger"]


class SubmitOptions(TypedDict, total=False):
    """The keyword arguments of ``submit``. The value None means the default.

    Attributes:
        on_worker: Whether ``project`` is a path on the worker and not on this machine.
        strategy: The plug-in that makes the steps. The default is ``command`` if ``commands`` are
            given, ``trajectory`` if ``steps`` are given, and otherwise ``auto``.
        commands: Shell lines to run in order.
        steps: The steps of a trajectory, as models or as mappings.
        image: Container image; the setting ``REVALID_IMAGE`` by default. ``auto`` follows the
            versions that the project asks for.
        env: Environment variables of every command. The ledger stores them: not for secrets.
        secrets: References by variable name, such as ``env://NAME`` or ``file:///path``.
        protected: Globs of paths that file steps must not write or delete.
        artifacts: Globs of files to keep when the steps have ended.
        limits: Limits of the job, such as ``{"memory_bytes": 2**30}``.
        sandbox: Where the job may run; the worker's policy by default.
        skip: Checks that are not to run, such as ``["lint"]``; the result says so.
        require: Checks without whose proof the job does not pass, such as ``["tests"]``.
        services: Services beside each test or given command, as models or as mappings; the default
            finds them in the project, and an empty list starts none.
        expect_tests: Tests that must run at least; with fewer, the job fails.
        overlay: A directory of trusted files, such as tests, that are laid over the project before
            each check and compared after it.
        flaky: ``pass`` lets a step pass whose failed tests pass when run again; the default is
            ``fail``.
        project_config: Whether the project's configuration counts; True by default.
        matrix: The entry of the project's matrix to run, such as ``{"node": "22"}``.
        labels: Labels for reports; not part of the job's id.
        tenant: Tenant of the job; the setting ``REVALID_TENANT`` by default.
        lane: ``interactive`` (the default), or ``batch`` for work that nobody waits for.
        keep_going: Whether to run the remaining commands after one failed.
        session: Whether the commands run as one Bash session: directory, variables and functions
            carry over from each to the next.
        user: ``root`` runs commands as root in a container; the default is an ordinary user.
        fresh: Whether to run the job even if an identical job is queued, running or done.
        nonce: A value that makes the job's id unique; ``fresh`` sets a random one.
        webhook: URL to which the verdict is posted; not part of the job's id.
    """

    on_worker: bool
    strategy: Strategy | None
    commands: Sequence[str]
    steps: Sequence[Step | Mapping[str, Any]]
    image: str | None
    env: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    protected: Sequence[str]
    artifacts: Sequence[str]
    limits: Limits | Mapping[str, Any] | None
    sandbox: Sandbox | None
    skip: Sequence[ChosenCheck]
    require: Sequence[ChosenCheck]
    services: Sequence[Service | Mapping[str, Any]] | None
    expect_tests: int | None
    overlay: Path | str | None
    flaky: Literal["pass", "fail"] | None
    project_config: bool
    matrix: Mapping[Axis, str] | None
    labels: Mapping[str, str] | None
    tenant: str | None
    lane: Lane | Literal["interactive", "batch"]
    keep_going: bool
    session: bool
    user: Literal["root"] | None
    fresh: bool
    nonce: str | None
    webhook: str | None


_LISTS = ("commands", "steps", "protected", "artifacts", "skip", "require")
_MAPPINGS = ("env", "secrets", "labels", "limits", "matrix")


def check_options(options: Mapping[str, Any]) -> None:
    """Check names and types of options, for callers without a type checker.

    Raises:
        TypeError: An option is unknown.
        InvalidJob: A value should be a list or a mapping.
    """
    for name, value in options.items():
        if name not in SubmitOptions.__annotations__:
            near = get_close_matches(name, SubmitOptions.__annotations__, n=1)
            raise TypeError(
                f"no option {name!r} of a job" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        if name in _LISTS and (isinstance(value, str | bytes) or not isinstance(value, Sequence)):
            raise InvalidJob(f"{name}: give a list, such as {name}=[{value!r:.60}]")
        if name in _MAPPINGS and not isinstance(value, Mapping | Limits | None):
            raise InvalidJob(f"{name}: {value!r:.60} is not a mapping of names to values")
