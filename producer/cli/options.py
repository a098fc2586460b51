"""The options that several commands share."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_type_hints

from typer import Argument, Option

from revalid.jobs.checks import ChosenCheck
from revalid.jobs.constants import DAY_S
from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import PlugInName
from revalid.jobs.services import KNOWN_KINDS

if TYPE_CHECKING:  # slow to import, and not needed for --help
    from revalid.producer.options import SubmitOptions

SandboxWord = Literal["local", "auto", "dagger"]

_FIELDS = {
    "cpu": "cpu_s",
    "memory": "memory_bytes",
    "processes": "processes",
    "disk": "disk_bytes",
    "output": "output_bytes",
}
LIMITS = ("time", *_FIELDS)
CHECKS = get_args(ChosenCheck)
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)

Project = Annotated[
    Path,
    Argument(
        metavar="PATH",
        help="Project: a directory, or an archive of one (.tar, .tar.gz, .zip, ...).",
    ),
]
JobId = Annotated[str, Argument(metavar="ID", help="Job id, as `revalid submit` prints it.")]
JobIds = Annotated[
    list[str], Argument(metavar="ID...", help="Job ids, as `revalid submit` prints them.")
]
Strategy = Annotated[
    str | None,
    Option(
        "--strategy",
        metavar="NAME",
        help="Strategy that makes the steps: auto, a language such as npm, python or go, or "
        "command. Default: auto, which inspects the project and says why it chose.",
    ),
]
Commands = Annotated[
    list[str] | None,
    Option(
        "--command",
        metavar="LINE",
        help="Run this shell line instead of a strategy's steps; repeatable. The first failure "
        "ends the job.",
    ),
]
KeepGoing = Annotated[
    bool, Option("--keep-going", metavar="", help="Run every --command, even after one failed.")
]
Session = Annotated[
    bool,
    Option(
        "--session",
        metavar="",
        help="Run the commands as one Bash session: cd, export, source and functions keep their "
        "effect.",
    ),
]
Sandbox = Annotated[
    SandboxWord | None,
    Option(
        "--sandbox",
        metavar="POLICY",
        help="Where steps run: local, a directory on the worker; dagger, a container; auto, a "
        "container if an engine answers, else local. Default: the worker's policy, auto for `run`.",
    ),
]
User = Annotated[
    Literal["root"] | None,
    Option(
        "--user",
        metavar="root",
        help="Run commands as root in the container, for commands that an ordinary user cannot "
        "run. The project can then forge its verdict.",
    ),
]
Image = Annotated[
    str | None,
    Option(
        "--image",
        metavar="REF",
        help="Container image; auto follows the versions that the project asks for. "
        "Default: REVALID_IMAGE, else auto.",
    ),
]
Timeout = Annotated[
    float,
    Option("--timeout", metavar="SECONDS", min=0.1, max=DAY_S, help="Time limit of one command."),
]
JobTimeout = Annotated[
    float,
    Option(
        "--job-timeout", metavar="SECONDS", min=0.1, max=DAY_S, help="Time limit of the whole job."
    ),
]
Limit = Annotated[
    list[str] | None,
    Option(
        "--max",
        metavar="NAME=VALUE",
        help="cpu=60 (seconds of one process), memory=2G, processes=500, disk=5G or output=1M "
        "(bytes kept of each stream); repeatable.",
    ),
]
Require = Annotated[
    list[str] | None,
    Option(
        "--require",
        metavar="NAME,...",
        help="A check without whose proof the job does not pass: build, typecheck, lint, tests, "
        "start or render. Or a limit that the sandbox must be able to enforce: time, output, cpu, "
        "memory, processes or disk. Repeatable.",
    ),
]
Skip = Annotated[
    list[str] | None,
    Option(
        "--skip",
        metavar="CHECK,...",
        help="Leave out a check: build, typecheck, lint, tests, start or render. The result says "
        "so. Repeatable.",
    ),
]
Services = Annotated[
    list[str] | None,
    Option(
        "--service",
        metavar="KIND[=IMAGE]",
        help="Run this service beside each test or --command: postgres, mysql, redis or mongodb, "
        "or another as NAME=IMAGE,port=PORT, then ready=/PATH and VARIABLE=VALUE if needed. "
        "Default: those that the project's tests need. Repeatable.",
    ),
]
Flaky = Annotated[
    Literal["pass", "fail"] | None,
    Option(
        "--flaky",
        metavar="pass|fail",
        help="Whether a test that fails and then passes when it runs again by itself fails its "
        "check. Default: fail. Flaky tests are shown either way.",
    ),
]
NoProjectConfig = Annotated[
    bool,
    Option(
        "--no-project-config",
        metavar="",
        help="Ignore revalid.toml and its like in the project; your own options win in any case.",
    ),
]
NoServices = Annotated[
    bool, Option("--no-services", metavar="", help="Run no service beside the tests.")
]
ExpectTests = Annotated[
    int | None,
    Option(
        "--expect-tests", metavar="NUMBER", min=1, help="Fail the job if fewer tests than this ran."
    ),
]
Overlay = Annotated[
    Path | None,
    Option(
        "--overlay",
        metavar="DIR",
        help="Directory of trusted files, such as tests and their configuration. They are laid "
        "over the project before each check and compared after it.",
    ),
]
Env = Annotated[
    list[str] | None,
    Option(
        "--env",
        metavar="NAME=VALUE",
        help="Environment variable of every command; repeatable. It is stored with the job: "
        "not for secrets.",
    ),
]
Secret = Annotated[
    list[str] | None,
    Option(
        "--secret",
        metavar="NAME=REF",
        help="Environment variable whose value the worker looks up; REF is env://NAME or "
        "file:///path, and the worker must allow it. Repeatable.",
    ),
]
Artifact = Annotated[
    list[str] | None,
    Option(
        "--artifact",
        metavar="GLOB",
        help="Keep these files for `revalid artifacts`, whatever the verdict: dist, 'coverage/**', "
        "'**/junit.xml'; repeatable.",
    ),
]
Label = Annotated[
    list[str] | None,
    Option("--label", metavar="NAME=VALUE", help="Label for reports; repeatable."),
]
Webhook = Annotated[
    str | None,
    Option(
        "--webhook",
        metavar="URL",
        help="URL to which a worker posts the verdict, signed.",
    ),
]
Fresh = Annotated[
    bool, Option("--fresh", metavar="", help="Run the job even if an identical one has a verdict.")
]
Json = Annotated[
    bool, Option("--json", metavar="", help="Print one JSON document and nothing else.")
]


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The job options of a command, as typed."""

    strategy: Strategy = None
    commands: Commands = None
    keep_going: KeepGoing = False
    session: Session = False
    sandbox: Sandbox = None
    image: Image = None
    user: User = None
    timeout: Timeout = 600
    job_timeout: JobTimeout = 3_600
    limits: Limit = None
    required: Require = None
    skip: Skip = None
    services: Services = None
    no_services: NoServices = False
    flaky: Flaky = None
    no_project_config: NoProjectConfig = False
    expect_tests: ExpectTests = None
    overlay: Overlay = None
    env: Env = None
    secrets: Secret = None
    labels: Label = None
    artifacts: Artifact = None
    webhook: Webhook = None
    fresh: Fresh = False

    def arguments(self) -> "SubmitOptions":
        """Return the arguments of :func:`.prepare`.

        Raises:
            InvalidJob: A value is malformed, or two options contradict each other.
        """
        if self.commands and self.strategy not in (None, "command"):
            raise InvalidJob(
                f"--command and --strategy {self.strategy} exclude each other: give one of them"
            )
        if self.keep_going and not self.commands:
            raise InvalidJob(
                "--keep-going needs --command: other strategies always run every check"
            )
        if self.services and self.no_services:
            raise InvalidJob("--service and --no-services exclude each other: give one of them")
        required = _names("--require", self.required, (*CHECKS, *LIMITS))
        return {
            "strategy": PlugInName(self.strategy) if self.strategy else None,
            "commands": self.commands or (),
            "keep_going": self.keep_going,
            "session": self.session,
            "sandbox": self.sandbox,
            "image": self.image,
            "user": self.user,
            "limits": {
                "command_timeout_s": self.timeout,
                "job_timeout_s": self.job_timeout,
                "required": [name for name in required if name in LIMITS],
                **_limits(self.limits),
            },
            "skip": cast("list[ChosenCheck]", _names("--skip", self.skip, CHECKS)),
            "require": cast("list[ChosenCheck]", [n for n in required if n in CHECKS]),
            "flaky": self.flaky,
            "project_config": not self.no_project_config,
            "services": [] if self.no_services else _services(self.services),
            "expect_tests": self.expect_tests,
            "overlay": str(self.overlay.absolute()) if self.overlay else None,
            "env": pairs("--env", self.env),
            "secrets": pairs("--secret", self.secrets),
            "labels": pairs("--label", self.labels),
            "artifacts": self.artifacts or (),
            "fresh": self.fresh,
            "webhook": self.webhook,
        }


def _limits(words: Sequence[str] | None) -> dict[str, float]:
    limits: dict[str, float] = {}
    for name, text in pairs("--max", words).items():
        if name not in _FIELDS:
            raise InvalidJob(f"--max {name}: no such limit; use one of {', '.join(_FIELDS)}")
        amount = _AMOUNT.fullmatch(text)
        sized = name in ("memory", "disk", "output")
        if amount is None or (amount[2] and not sized):
            example = "2G" if sized else "60"
            raise InvalidJob(f"--max {name}={text}: not an amount; write it as {name}={example}")
        value = float(amount[1]) * 1024 ** (" KMGT".index((amount[2] or " ").upper()))
        limits[_FIELDS[name]] = int(value) if value.is_integer() or sized else value
    return limits


def _names(option: str, words: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the names that the words of an option list, sorted."""
    names = {name for word in words or () for name in word.split(",")}
    if unknown := sorted(names.difference(known)):
        raise InvalidJob(
            f"{option} {unknown[0]}: no such name; use one or more of {', '.join(known)}"
        )
    return sorted(names)


def _services(words: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Return the services that the words name; None leaves them to be found."""
    return None if words is None else [_service(word) for word in words]


def _service(word: str) -> dict[str, Any]:
    """Return a known kind, or another with ``port=``, ``ready=`` and variables after its image."""
    name, _, rest = word.partition("=")
    image, *settings = rest.split(",")
    if name in KNOWN_KINDS:
        if settings:
            raise InvalidJob(f"--service {name}: write {name}=IMAGE, without commas")
        return {"kind": name, **({"image": image} if image else {})}
    values = pairs(f"--service {name}", settings)
    port, ready = values.pop("port", ""), values.pop("ready", None)
    if not image or not port.isdigit():
        raise InvalidJob(
            f"--service {name}: no such kind; use one of {', '.join(KNOWN_KINDS)}, "
            f"or {name or 'NAME'}=IMAGE,port=PORT[,ready=/PATH][,VARIABLE=VALUE]"
        )
    other = {"kind": "other", "name": name, "image": image, "port": int(port), "ready": ready}
    return {**other, "env": values}


def pairs(option: str, words: Sequence[str] | None) -> dict[str, str]:
    """Parse the ``NAME=VALUE`` words of an option.

    Raises:
        InvalidJob: A word is not a pair, or a name occurs twice.
    """
    pairs: dict[str, str] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            shown = "a value without a name" if equals else repr(word)
            raise InvalidJob(f"{option}: {shown} is not a pair; write NAME=VALUE")
        if name in pairs:
            raise InvalidJob(f"{option}: {name} is given twice; keep one")
        pairs[name] = value
    return pairs


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """The options of ``batch run``, ``resume``, ``retry`` and ``report``, as typed."""

    concurrency: int | None = None
    fail_fast: bool = False
    reports: Sequence[str] | None = None
    compare: str | None = None
    json: bool = False
    expect: str | None = None


def with_job_options(*left_out: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command an option for each field of :class:`JobOptions`, as one argument
    ``job_options``. The options precede ``--json`` in the help.

    Args:
        left_out: Fields of which the command has no option.
    """
    hints = get_type_hints(JobOptions, include_extras=True)
    shared = {
        field.name: Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(JobOptions)
        if field.name not in left_out
    }

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        own = signature(function, eval_str=True)
        parameters = [
            field.replace(kind=Parameter.KEYWORD_ONLY)
            for field in own.parameters.values()
            if field.name not in ("job_options", "json")
        ]

        @wraps(function)
        def command(**given: Any) -> int:
            job_options = JobOptions(**{name: given.pop(name) for name in shared})
            return function(job_options=job_options, **given)

        parameters += [
            *shared.values(),
            own.parameters["json"].replace(kind=Parameter.KEYWORD_ONLY),
        ]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {field.name: field.annotation for field in parameters}
        return command

    return decorate
