"""``doctor``: is everything there that a validation needs, and how is it mended?"""

import json as jsonlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from jobs.connection import redact
from jobs.errors import JobError
from jobs.job import SandboxPolicy
from jobs.settings import Settings, load_settings
from producer.cli.output import OUR_SIDE, console, print_json
from producer.client import Client
from producer.embedded import absolute, attached, worker_environ
from producer.text import one_line

_PROBE_MARGIN_S = 10.0
_LOW_BYTES, _FULL_BYTES = 5 * 2**30, 2**29
_STYLE = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Check:
    """One row: ``mend`` says what to do where ``state`` is not ``ok``."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    mend: str | None = None


def doctor(*, json: bool) -> int:
    """Print every check; 3 where one failed."""
    settings = absolute(load_settings())
    waiting = console(stderr=True, quiet=not sys.stderr.isatty())
    with waiting.status("asking broker and engine"):
        versions = _versions()
        checks = [
            _broker(settings),
            *_engine(settings),
            _disk(settings),
            _tools(versions),
        ]
    ok = all(check.state != "fail" for check in checks)
    if json:
        document = {"ok": ok, "checks": [asdict(check) for check in checks], "versions": versions}
        print_json(document)
    else:
        _print(checks)
    return 0 if ok else OUR_SIDE


def _print(checks: list[Check]) -> None:
    out = console()
    for check in checks:
        mark, style = _STYLE[check.state]
        head = Text.assemble((mark, style), f" {check.name:<8}")
        lines = [one_line(check.detail), *([f"mend: {check.mend}"] if check.mend else [])]
        if out.is_terminal:
            row = Table.grid(padding=(0, 2))
            row.add_row(head, Text("\n".join(lines)))
            out.print(row, soft_wrap=False)
        else:
            out.print(head, ("\n" + " " * 12).join(lines), sep="  ")


def _broker(settings: Settings) -> Check:
    try:
        with attached(settings) as reached, Client(reached) as client, client.errors():
            info = client.redis.info()
    except JobError as error:
        detail, _, mend = str(error).rpartition(": ")
        return Check("broker", "fail", detail, mend)
    assert isinstance(info, dict)  # noqa: S101
    name, number = info.get("server_name", "redis"), info.get("valkey_version")
    where = "embedded" if reached.embedded else redact(client.url)
    detail = f"{name} {number or info.get('redis_version')}, {where}"
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        mend = "set maxmemory-policy noeviction: a full Redis drops jobs otherwise"
        return Check("broker", "warn", f"{detail}, maxmemory-policy {policy}", mend)
    if not info.get("aof_enabled", 1):
        mend = "set appendonly yes: a restart loses jobs otherwise"
        return Check("broker", "warn", f"{detail}, without an append-only file", mend)
    return Check("broker", "ok", detail)


def _engine(settings: Settings) -> list[Check]:
    settings = settings.model_copy(update={"embedded": settings.broker_url is None})
    policy = settings.sandbox_policy
    if policy is SandboxPolicy.LOCAL:
        return [Check("engine", "ok", "not used: REVALID_SANDBOX is local")]
    found = _probe(settings)
    if not found.get("engine"):
        state: Literal["warn", "fail"] = "warn" if policy is SandboxPolicy.AUTO else "fail"
        mend = "start a Dagger engine that this user reaches, or set REVALID_SANDBOX=local"
        if state == "warn":
            mend += "; until then steps run in the local sandbox"
        return [
            Check("engine", state, str(found.get("error")), mend),
            Check("image", state, f"{settings.image} not looked up: no engine"),
        ]
    engine = Check("engine", "ok", f"{found['engine']}, answered in {found.get('seconds')} s")
    if not found.get("image"):
        mend = "correct REVALID_IMAGE, or see that the engine reaches the registry"
        return [engine, Check("image", "fail", f"{settings.image}: {found.get('error')}", mend)]
    return [engine, Check("image", "ok", f"{settings.image}, {found['image']}")]


def _probe(settings: Settings) -> dict[str, object]:
    """Ask in a child, since nothing on this side may import dagger."""
    bound = settings.connect_timeout_s + _PROBE_MARGIN_S
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.probe"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=worker_environ(settings),
        cwd="/",
        start_new_session=True,
    ) as child:
        try:
            out, err = child.communicate(timeout=bound)
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {bound:g} s"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    try:
        found = jsonlib.loads(out)
    except ValueError:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        return {"error": f"worker.probe ended with status {child.returncode}: {last}"}
    return found if isinstance(found, dict) else {"error": f"worker.probe printed {found!r}"}


def _disk(settings: Settings) -> Check:
    places = dict.fromkeys((settings.home, settings.scratch or Path(tempfile.gettempdir())))
    free: dict[Path, int] = {}
    for place in places:
        there = next(parent for parent in (place, *place.parents) if parent.exists())
        free[place] = shutil.disk_usage(there).free
    detail = ", ".join(f"{left / 2**30:.1f} GiB free in {place}" for place, left in free.items())
    least = min(free.values())
    if least >= _LOW_BYTES:
        return Check("disk", "ok", detail)
    mend = "free some space, or set REVALID_HOME and REVALID_SCRATCH to larger disks"
    return Check("disk", "fail" if least < _FULL_BYTES else "warn", detail, mend)


def _versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("revalid", "celery", "dagger-io")},
        **{tool: _tool_version(tool) for tool in ("node", "npm")},
    }


def _tool_version(tool: str) -> str | None:
    path = shutil.which(tool)
    if path is None:
        return None
    try:
        found = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.decode(errors="replace").strip().removeprefix("v") or None


def _tools(versions: dict[str, str | None]) -> Check:
    detail = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    if all(versions.values()):
        return Check("versions", "ok", detail)
    mend = "install Node.js: the local sandbox needs node and npm for npm projects"
    return Check("versions", "warn", detail, mend)
