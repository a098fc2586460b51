"""``doctor``: check that everything that a validation needs is there."""

import json as jsonlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from revalid.jobs.connection import redact
from revalid.jobs.counted import counted
from revalid.jobs.errors import InvalidSettings, RevalidError, WorkerUnavailable
from revalid.jobs.images import load_images
from revalid.jobs.job import SandboxPolicy
from revalid.jobs.ledger.stats import QueueStats
from revalid.jobs.ledger.workers import Worker, workers
from revalid.jobs.settings import Settings, load_settings
from revalid.producer.cli.output import OUR_SIDE, console, print_json
from revalid.producer.client import Client
from revalid.producer.local.worker_command import worker_command
from revalid.producer.local.workers import absolute, attached, worker_environ
from revalid.producer.sanitize import one_line, seconds
from revalid.version import __version__

_PROBE_MARGIN_S = 10.0
_LOW_BYTES, _FULL_BYTES = 5 * 2**30, 2**29
_STYLE = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check; ``fix`` says what to do if ``state`` is not ``ok``."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    fix: str | None = None


def doctor(*, json: bool) -> int:
    """Print every check; return 3 if one failed."""
    settings = absolute(load_settings())
    waiting = console(stderr=True, quiet=not sys.stderr.isatty())
    with waiting.status("checking broker and engine"):
        versions = _versions()
        checks = [
            *_broker(settings),
            *_engine(settings),
            _images(settings),
            *_plug_ins(),
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
        lines = [one_line(check.detail), *([f"fix: {check.fix}"] if check.fix else [])]
        if out.is_terminal:
            row = Table.grid(padding=(0, 2))
            row.add_row(head, Text("\n".join(lines)))
            out.print(row, soft_wrap=False)
        else:
            out.print(head, ("\n" + " " * 12).join(lines), sep="  ")


def _broker(settings: Settings) -> list[Check]:
    try:
        with attached(settings) as reached, Client(reached) as client, client._errors():
            info = client._redis.info()
            where = "embedded" if reached.embedded else redact(client.url)
            stats, there = client._ledger.stats(), workers(client._redis)
    except RevalidError as error:
        detail, _, fix = str(error).rpartition(": ")
        return [Check("broker", "fail", detail, fix)]
    queued = sum(lane.queued for lane in stats.lanes.values())
    return [
        _server(info, where),
        _workers(there, queued, embedded=reached.embedded),
        _queue(stats, queued, any(worker.runs and not worker.reason for worker in there)),
    ]


def _server(info: dict[str, Any], where: str) -> Check:
    name, number = info.get("server_name", "redis"), info.get("valkey_version")
    detail = f"{name} {number or info.get('redis_version')}, {where}"
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        fix = "set maxmemory-policy noeviction: a full Redis drops jobs otherwise"
        return Check("broker", "warn", f"{detail}, maxmemory-policy {policy}", fix)
    if not info.get("aof_enabled", 1):
        fix = "set appendonly yes: a restart loses jobs otherwise"
        return Check("broker", "warn", f"{detail}, without an append-only file", fix)
    return Check("broker", "ok", detail)


def _workers(there: list[Worker], queued: int, *, embedded: bool) -> Check:
    descriptions = [_in_words(worker) for worker in there]
    if any(worker.runs and not worker.reason for worker in there):
        silent = any(worker.reason or not worker.runs for worker in there)
        fix = "read the logs of the workers that take no jobs or are silent" if silent else None
        return Check("workers", "warn" if silent else "ok", "; ".join(descriptions), fix)
    detail = "; ".join(["no worker is running", *descriptions])
    if any(worker.runs for worker in there):
        detail = "; ".join(["no worker takes jobs", *descriptions])
        return Check("workers", "fail", detail, "fix the named problems, or start another worker")
    if embedded and not queued:
        return Check("workers", "ok", f"{detail}: `revalid run` starts its own")
    return Check("workers", "warn", detail, "start one: `revalid worker`")


def _in_words(worker: Worker) -> str:
    slots = counted(worker.slots, "slot")
    words = f"{worker.name} ({worker.version}, {slots}, {worker.sandbox}"
    if worker.runs and worker.reason:
        words += f", takes no jobs: {worker.reason}"
    silent = "" if worker.runs else "silent, "
    return f"{words}), {silent}last beat {seconds(worker.age_s)} ago"


def _queue(stats: QueueStats, queued: int, served: bool) -> Check:
    lanes = [
        f"{name}: {lane.queued} wait"
        + (f", the oldest for {seconds(lane.oldest_s)}" if lane.queued else "")
        + f", {lane.running} run"
        for name, lane in sorted(stats.lanes.items(), reverse=True)
        if lane.queued or lane.running
    ]
    detail = "; ".join(lanes) or "empty"
    if stats.dead:
        fix = "list them with `revalid dead list`"
        return Check("queue", "warn", f"{detail}; {stats.dead} jobs are dead", fix)
    if queued and not served:
        return Check(
            "queue", "warn", detail, "start a worker, or find out why the others take no jobs"
        )
    return Check("queue", "ok", detail)


def _engine(settings: Settings) -> list[Check]:
    settings = settings.model_copy(update={"embedded": settings.broker_url is None})
    policy = settings.sandbox_policy
    if policy is SandboxPolicy.LOCAL:
        return [Check("engine", "ok", "not used: REVALID_SANDBOX is local")]
    try:
        probe = _probe(settings)
    except WorkerUnavailable:
        return [Check("engine", "ok", "not used: only revalid-client is installed here")]
    if not probe.get("engine"):
        state: Literal["warn", "fail"] = "warn" if policy is SandboxPolicy.AUTO else "fail"
        fix = "start a Dagger engine that this user can reach, or set REVALID_SANDBOX=local"
        if state == "warn":
            fix += "; until then steps run in the local sandbox"
        return [
            Check("engine", state, _without_fix(str(probe.get("error"))), fix),
            Check("image", state, f"{settings.image} not looked up: no engine"),
        ]
    engine = Check("engine", "ok", f"{probe['engine']}, answered in {probe.get('seconds')} s")
    if not probe.get("image"):
        fix = "correct REVALID_IMAGE, or check that the engine can reach the registry"
        return [engine, Check("image", "fail", f"{settings.image}: {probe.get('error')}", fix)]
    return [engine, Check("image", "ok", f"{settings.image}, {probe['image']}")]


def _images(settings: Settings) -> Check:
    try:
        table = load_images(settings.images)
    except InvalidSettings as error:
        return Check("images", "fail", str(error), "correct the file: no worker starts with it")
    source = settings.images or "the built-in table"
    tags = ", ".join(f"{language} {' '.join(images)}" for language, images in table.items())
    return Check("images", "ok", f"{source}: {tags}")


def _without_fix(error: str) -> str:
    """Return an engine's error without its advice, which names this command."""
    return re.split(r"[;:] start a Dagger engine", error)[0]


def _probe(settings: Settings) -> dict[str, object]:
    """Probe the engine in a child process: the producer does not import dagger."""
    bound = settings.connect_timeout_s + _PROBE_MARGIN_S
    with subprocess.Popen(
        worker_command("revalid.worker.sandboxes.dagger.probe"),
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
        probe = jsonlib.loads(out)
    except ValueError:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        return {"error": f"the engine's probe ended with status {child.returncode}: {last}"}
    return probe if isinstance(probe, dict) else {"error": f"the engine's probe printed {probe!r}"}


def _plug_ins() -> list[Check]:
    """Load the strategies of plug-ins in a child process: the producer imports no worker."""
    try:
        command = worker_command("revalid.worker.strategies")
        run = subprocess.run(command, capture_output=True, timeout=_PROBE_MARGIN_S, check=True)
        found = jsonlib.loads(run.stdout)
    except WorkerUnavailable:
        return []
    except (subprocess.SubprocessError, ValueError) as error:
        fix = "uninstall the package that was installed last on this worker"
        return [Check("plug-ins", "fail", f"they could not be listed: {error}", fix)]
    broken = [entry["problem"] for entry in found if entry["problem"]]
    works = [f"{e['name']} of {e['package']}" for e in found if not e["problem"]]
    if broken:
        detail, _, fix = broken[0].rpartition("; ")
        return [Check("plug-ins", "fail", "; ".join([detail, *works]), fix)]
    return [Check("plug-ins", "ok", ", ".join(works))] if works else []


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
    fix = "free some space, or set REVALID_HOME and REVALID_SCRATCH to larger disks"
    return Check("disk", "fail" if least < _FULL_BYTES else "warn", detail, fix)


def _versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "revalid": __version__,
        **{name: _package_version(name) for name in ("celery", "dagger-io")},
        **{tool: _tool_version(tool) for tool in ("node", "npm")},
    }


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tool_version(tool: str) -> str | None:
    path = shutil.which(tool)
    if path is None:
        return None
    try:
        completed = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout.decode(errors="replace").strip().removeprefix("v") or None


def _tools(versions: dict[str, str | None]) -> Check:
    detail = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    if all(versions.values()):
        return Check("versions", "ok", detail)
    fix = "install Node.js: the local sandbox needs node and npm for npm projects"
    return Check("versions", "warn", detail, fix)
