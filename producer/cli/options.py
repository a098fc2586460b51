"""The options that several commands share, and what they make."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from typer import Argument, Option

from revalid.jobs.constants import DAY_S
from revalid.jobs.errors import InvalidJob

if TYPE_CHECKING:  # slow to import, which the help need not wait for
    from revalid.producer.options import SubmitOptions

StrategyWord = Literal["auto", "trpc", "npm", "python", "command"]
SandboxWord = Literal["local", "auto", "dagger"]

_FIELDS = {
    "cpu": "cpu_s",
    "memory": "memory_bytes",
    "processes": "processes",
    "disk": "disk_bytes",
    "output": "output_bytes",
}
LIMITS = ("time", *_FIELDS)
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)

Project = Annotated[
    Path, Argument(metavar="PATH", help="Project: a directory, or a tarball of one.")
]
JobId = Annotated[str, Argument(metavar="ID", help="Job id, as `revalid submit` prints it.")]
JobIds = Annotated[
    list[str], Argument(metavar="ID...", help="Job ids, as `revalid submit` prints them.")
]
Strategy = Annotated[
    StrategyWord | None,
    Option(
        "--strategy",
        metavar="NAME",
        help="What makes the steps: auto, trpc, npm, python or command. Default: auto, which looks "
        "at the project and says what it saw.",
    ),
]
Commands = Annotated[
    list[str] | None,
    Option(
        "--command",
        metavar="LINE",
        help="Run this shell line instead; repeat for more, up to the first that fails.",
    ),
]
KeepGoing = Annotated[
    bool, Option("--keep-going", metavar="", help="Run each --command, also after one that failed.")
]
Sandbox = Annotated[
    SandboxWord | None,
    Option(
        "--sandbox",
        metavar="POLICY",
        help="Where steps run: local, a directory on the worker; dagger, a container; auto, a "
        "container where an engine answers. Default: the worker's policy, auto for `run`.",
    ),
]
User = Annotated[
    Literal["root"] | None,
    Option(
        "--user",
        metavar="root",
        help="Run commands as root of their container, where an ordinary user cannot install what "
        "they need. They can then forge their own verdict.",
    ),
]
Image = Annotated[
    str | None, Option("--image", metavar="REF", help="Container image. Default: REVALID_IMAGE.")
]
Timeout = Annotated[
    float, Option("--timeout", metavar="SECONDS", min=0.1, max=DAY_S, help="Bound of one command.")
]
JobTimeout = Annotated[
    float,
    Option("--job-timeout", metavar="SECONDS", min=0.1, max=DAY_S, help="Bound of the whole job."),
]
Limit = Annotated[
    list[str] | None,
    Option(
        "--max",
        metavar="NAME=VALUE",
        help="cpu=60 (seconds of one process), memory=2G, processes=500, disk=5G or output=1M (of "
        "each stream, kept); repeat for more.",
    ),
]
Require = Annotated[
    list[str] | None,
    Option(
        "--require",
        metavar="NAME",
        help="Be rejected rather than run where this limit is not enforced: time, output, cpu, "
        "memory, processes or disk; repeat for more.",
    ),
]
Env = Annotated[
    list[str] | None,
    Option(
        "--env",
        metavar="NAME=VALUE",
        help="Variable of every command; repeat for more. Stored with the job: not for secrets.",
    ),
]
Secret = Annotated[
    list[str] | None,
    Option(
        "--secret",
        metavar="NAME=REF",
        help="Variable whose value the worker looks up: REF is env://NAME or file:///path, and "
        "the worker must allow it. Repeat for more.",
    ),
]
Artifact = Annotated[
    list[str] | None,
    Option(
        "--artifact",
        metavar="GLOB",
        help="Keep these files of the project's directory for `revalid artifacts`, however the job "
        "ends: dist, 'coverage/**', '**/junit.xml'; repeat for more.",
    ),
]
Label = Annotated[
    list[str] | None,
    Option("--label", metavar="NAME=VALUE", help="Words of your own for reports; repeat for more."),
]
Webhook = Annotated[
    str | None,
    Option(
        "--webhook",
        metavar="URL",
        help="Have a worker POST the verdict there, signed, when there is one.",
    ),
]
Fresh = Annotated[
    bool, Option("--fresh", metavar="", help="Run even where the same job has its verdict.")
]
Json = Annotated[
    bool, Option("--json", metavar="", help="Print one JSON document and nothing else.")
]


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What the commands that make jobs say about them, as it was typed."""

    strategy: Strategy = None
    commands: Commands = None
    keep_going: KeepGoing = False
    sandbox: Sandbox = None
    image: Image = None
    user: User = None
    timeout: Timeout = 600
    job_timeout: JobTimeout = 3_600
    limits: Limit = None
    required: Require = None
    env: Env = None
    secrets: Secret = None
    labels: Label = None
    artifacts: Artifact = None
    webhook: Webhook = None
    fresh: Fresh = False

    def arguments(self) -> "SubmitOptions":
        """Arguments of :func:`.prepare`.

        Raises:
            InvalidJob: A pair is not one, or two options contradict each other.
        """
        if self.commands and self.strategy not in (None, "command"):
            raise InvalidJob(f"--command and --strategy {self.strategy}: give one of the two")
        if self.keep_going and not self.commands:
            raise InvalidJob("--keep-going: give the lines with --command; checks go on anyway")
        return {
            "strategy": self.strategy,
            "commands": self.commands or (),
            "keep_going": self.keep_going,
            "sandbox": self.sandbox,
            "image": self.image,
            "user": self.user,
            "limits": {
                "command_timeout_s": self.timeout,
                "job_timeout_s": self.job_timeout,
                "required": _required(self.required),
                **_limits(self.limits),
            },
            "env": pairs("--env", self.env),
            "secrets": pairs("--secret", self.secrets),
            "labels": pairs("--label", self.labels),
            "artifacts": self.artifacts or (),
            "fresh": self.fresh,
            "webhook": self.webhook,
        }


def _limits(words: Sequence[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, text in pairs("--max", words).items():
        if name not in _FIELDS:
            raise InvalidJob(f"--max {name}: no such limit; use one of {', '.join(_FIELDS)}")
        amount = _AMOUNT.fullmatch(text)
        sized = name in ("memory", "disk", "output")
        if amount is None or (amount[2] and not sized):
            example = "2G" if sized else "60"
            raise InvalidJob(f"--max {name}={text}: no amount; write it as {name}={example}")
        value = float(amount[1]) * 1024 ** (" KMGT".index((amount[2] or " ").upper()))
        found[_FIELDS[name]] = int(value) if value.is_integer() or sized else value
    return found


def _required(words: Sequence[str] | None) -> list[str]:
    for word in words or ():
        if word not in LIMITS:
            raise InvalidJob(f"--require {word}: no such limit; use one of {', '.join(LIMITS)}")
    return sorted(set(words or ()))


def pairs(option: str, words: Sequence[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` words of an option.

    Raises:
        InvalidJob: A word is no pair, or a name comes twice.
    """
    pairs: dict[str, str] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            shown = "a value without a name" if equals else repr(word)
            raise InvalidJob(f"{option}: {shown} is no pair; write NAME=VALUE")
        if name in pairs:
            raise InvalidJob(f"{option}: {name} is given twice; keep one")
        pairs[name] = value
    return pairs


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What ``batch run`` and ``batch resume`` say about how to go about it, as it was typed."""

    concurrency: int | None = None
    fail_fast: bool = False
    reports: Sequence[str] | None = None
    compare: str | None = None
    json: bool = False


def with_job_options(*left_out: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command an option for each field of :class:`JobOptions`, as one argument ``asked``.

    They stand before ``--json`` in the command's help.

    Args:
        left_out: Fields that the command does not offer.
    """
    hints = get_type_hints(JobOptions, include_extras=True)
    shared = {
        each.name: Parameter(
            each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(JobOptions)
        if each.name not in left_out
    }

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        own = signature(function, eval_str=True)
        parameters = [
            each.replace(kind=Parameter.KEYWORD_ONLY)
            for each in own.parameters.values()
            if each.name not in ("asked", "json")
        ]

        @wraps(function)
        def command(**given: Any) -> int:
            asked = JobOptions(**{name: given.pop(name) for name in shared})
            return function(asked=asked, **given)

        parameters += [
            *shared.values(),
            own.parameters["json"].replace(kind=Parameter.KEYWORD_ONLY),
        ]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate
