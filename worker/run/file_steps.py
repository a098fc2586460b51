"""Applies the steps other than ``exec`` in a sandbox."""

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path
from typing import assert_never

from revalid.jobs.settings import Settings
from revalid.jobs.steps import (
    DeleteFile,
    Exec,
    ExportDirectory,
    ListDirectory,
    ReadFile,
    RefreshFromHost,
    SetEnv,
    SetWorkdir,
    Step,
    WriteFile,
    WriteFiles,
)
from revalid.worker.file_trees import make_harmless, remove_tree
from revalid.worker.run.project import allowed_host_path
from revalid.worker.sandboxes.protocol import Sandbox

_NAME = 200


def describe_step(step: Step) -> str:
    """Return the name of a step in events and results."""
    match step:
        case Exec(name=str(name)):
            return name
        case Exec(command=command):
            return command.strip().partition("\n")[0][:_NAME]
        case WriteFiles(files=files):
            return f"write_files {len(files)}"
        case SetEnv(name=name):
            return f"set_env {name}"[:_NAME]
        case RefreshFromHost(host_path=host_path):
            return f"refresh_from_host {host_path}"[:_NAME]
        case _:
            return f"{step.op} {step.path}"[:_NAME]


async def apply_step(step: Step, sandbox: Sandbox, settings: Settings, artifact: Path) -> str:
    """Apply a step other than ``exec``; return the text that it read, or an empty string.

    Args:
        artifact: Where an ``export_directory`` step writes.

    Raises:
        StepFailed: The step failed on these files.
    """
    match step:
        case Exec():
            raise AssertionError("the runner runs commands")
        case WriteFile():
            await sandbox.write_file(step.path, step.content, mode=step.mode)
        case WriteFiles():
            await sandbox.write_files(step.files)
        case ReadFile():
            return (await sandbox.read_file(step.path)).decode(errors="replace")
        case DeleteFile():
            await sandbox.delete_file(step.path)
        case ListDirectory():
            entries = await sandbox.list_directory(step.path)
            return "".join(f"{entry.name}{'/' * entry.is_directory}\n" for entry in entries)
        case SetWorkdir():
            await sandbox.set_workdir(step.path)
        case SetEnv():
            sandbox.with_env(step.name, step.value)
        case ExportDirectory():
            artifact.parent.mkdir(parents=True, exist_ok=True)
            # A new directory: that of an earlier try may contain links or still be written to.
            fresh = artifact.with_name(f".{artifact.name}.{secrets.token_hex(8)}")
            try:
                await sandbox.export_directory(step.path, fresh)
                await asyncio.to_thread(make_harmless, fresh)
                await asyncio.to_thread(remove_tree, artifact)
                fresh.rename(artifact)
            except BaseException:  # an incomplete export is never kept
                with suppress(OSError):
                    await asyncio.to_thread(remove_tree, fresh)
                raise
            return f"stored as artifact {artifact.name}\n"
        case RefreshFromHost():
            source = allowed_host_path(step.host_path, settings.source_roots, "refresh_from_host")
            await sandbox.refresh_from_host(source, step.path)
        case _:
            assert_never(step)
    return ""
