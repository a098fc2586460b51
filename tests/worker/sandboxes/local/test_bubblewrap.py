"""Isolation that bubblewrap adds to the local sandbox."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from revalid.jobs.job import LimitName
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.sandboxes.local.argument_file import argument_file
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import StepFailed
from tests.contract.checks import new_token, output


def on_the_host(path: str) -> bool:
    return Path(path).exists()


@pytest.fixture
def private() -> Iterator[Path]:
    """Yield a directory of the worker that commands must not see, below a path that they see."""
    # Not below /tmp, which is hidden anyway.
    place = Path("/var/tmp") / f"revalid-test-{secrets.token_hex(8)}"
    place.mkdir()
    (place / "secret").write_text("of the worker")
    yield place
    (place / "secret").unlink()
    place.rmdir()


@pytest_asyncio.fixture
async def jailed(tmp_path: Path, private: Path) -> AsyncIterator[LocalSandbox]:
    """Yield a sandbox in bubblewrap; a variable of the worker names the private directory."""
    if not bubblewrap.works():
        pytest.skip("NO BUBBLEWRAP: install bwrap, and allow it to make namespaces")
    sandbox = LocalSandbox(
        passthrough={"SHOWN": str(private)}, scratch=tmp_path, hidden=(private,), jailed=True
    )
    yield sandbox
    await sandbox.close()


async def test_only_the_sandbox_is_writable(jailed: LocalSandbox, private: Path) -> None:
    assert await output(jailed, 'echo x >here; echo x >"$HOME/home"; echo x >/tmp/shared') == ""
    for path in ("/etc/x", "/dev/x", "/x", "/usr/x", f"{private}/x", "$HOME/../x"):
        assert (await jailed.exec(f": >{path}")).exit_code != 0, path
    assert await output(jailed, "cat /tmp/shared") == "x\n"
    assert not on_the_host("/tmp/shared")


async def test_hidden_paths_are_not_visible(jailed: LocalSandbox, private: Path) -> None:
    assert (await jailed.exec(f"cat {private}/secret")).exit_code == 1
    jailed._hidden = (private / "secret",)
    assert (await jailed.exec(f"cat {private}/secret")).exit_code == 1
    jailed._hidden = ()
    assert await output(jailed, f"cat {private}/secret") == "of the worker"


async def test_a_hidden_path_may_be_below_another(jailed: LocalSandbox, private: Path) -> None:
    (private / "home").mkdir()
    jailed._hidden = (private / "home", private)
    assert await output(jailed, f"ls {private}; echo runs") == "runs\n"
    (private / "home").rmdir()


async def test_files_that_no_tool_needs_are_not_visible(
    jailed: LocalSandbox, private: Path
) -> None:
    jailed._passthrough.clear()
    jailed._hidden = ()
    for path in (private, "/var", "/srv", "/home", "/mnt", "/boot"):
        assert (await jailed.exec(f"[ -e {path} ]")).exit_code == 1, path


async def test_private_system_files_are_not_visible(
    jailed: LocalSandbox,
) -> None:
    assert await output(jailed, "cat /etc/shadow /etc/gshadow 2>/dev/null || true") == ""
    assert "root" in await output(jailed, "cat /etc/passwd")


async def test_commands_have_no_capability_and_see_only_their_processes(
    jailed: LocalSandbox,
) -> None:
    assert await output(jailed, "grep CapEff /proc/self/status") == f"CapEff:\t{'0' * 16}\n"
    assert int(await output(jailed, "ls -d /proc/[0-9]* | wc -l")) < 10


async def test_bubblewrap_is_not_run_from_a_directory_that_a_command_can_write(
    jailed: LocalSandbox, tmp_path: Path
) -> None:
    escaped = tmp_path / "escaped"
    await output(
        jailed,
        'mkdir -p "$HOME/.local/bin" "$HOME/.npm-global/bin"\n'
        f"printf '#!/bin/sh\\n: >{escaped}\\n' >\"$HOME/.local/bin/bwrap\"\n"
        'chmod 755 "$HOME/.local/bin/bwrap"; cp "$HOME/.local/bin/bwrap" "$HOME/.npm-global/bin"',
    )
    assert await output(jailed, "echo in the jail") == "in the jail\n"
    assert not escaped.exists()


async def test_path_of_a_job_is_only_for_its_commands(jailed: LocalSandbox) -> None:
    jailed.with_env("PATH", "/nowhere")
    assert await output(jailed, 'echo "$PATH"') == "/nowhere\n"


async def test_variables_reach_nothing_outside_the_jail(
    jailed: LocalSandbox, tmp_path: Path
) -> None:
    # The loader of every dynamic program would write there.
    jailed.with_envs({"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(tmp_path / "loaded")})
    assert (await jailed.exec("true")).exit_code == 0
    assert [entry.name for entry in os.scandir(tmp_path)] == [Path(jailed.host_root).parent.name]


async def test_variables_are_in_no_argument_list(jailed: LocalSandbox) -> None:
    value = f"s3cret-{new_token()}"
    jailed.with_secret("TOKEN", value)
    up = asyncio.Event()
    command = "cat /proc/*/cmdline >/dev/null; echo up; sleep 60"
    running = asyncio.create_task(jailed.exec(command, on_output=lambda *_: up.set()))
    await up.wait()
    lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert any("bwrap" in line and "sleep 60" in line for line in lines)
    assert not any(value in line for line in lines)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await output(jailed, 'echo "$TOKEN"') == f"{value}\n"


@pytest.mark.parametrize("name", ["root", "home", "tmp", "shm", "slash-tmp"])
async def test_own_directory_cannot_be_replaced(jailed: LocalSandbox, name: str) -> None:
    directory = Path(jailed.host_root).parent
    await output(jailed, f"(cd {directory}; mv {name} old; ln -s / {name}) 2>/dev/null; true")
    listed = await output(
        jailed, 'ls -d /dev/shm/etc /tmp/etc "$HOME/etc" 2>/dev/null; echo no more'
    )
    assert listed == "no more\n"
    assert not any(path.is_symlink() for path in directory.iterdir())


async def test_parents_of_the_sandbox_cannot_be_replaced(jailed: LocalSandbox) -> None:
    parent = Path("/tmp", Path(jailed.host_root).parts[2])
    if not jailed.host_root.startswith("/tmp/"):
        pytest.skip("NOT BELOW /tmp: the sandbox's directory is elsewhere")
    assert (await jailed.exec(f"mv {parent} /tmp/moved")).exit_code != 0
    assert (await jailed.exec(f"cd {parent.parent} && rm -r {parent}")).exit_code != 0
    assert await output(jailed, "echo runs") == "runs\n"


async def test_modes_of_the_shared_directories_do_no_harm(jailed: LocalSandbox) -> None:
    await output(jailed, "chmod 000 /tmp /dev/shm; true")
    result = await jailed.exec("echo runs")
    assert result.exit_code in (0, 1)


ATTACKS = {
    "kernel settings": "find /proc/sys -type f -writable | grep .",
    "control groups": "find /sys -writable ! -type l | grep .",
    "user namespace": "unshare --user true",
    "mount": "mount -t tmpfs none /tmp",
    "remount": "mount -o remount,rw /usr",
    "unmount": "umount /etc",
    "device": "mknod disk b 8 0",
    "change root": "chroot / true",
    "terminal": ": </dev/tty",
    "console": ": >/dev/console",
    "worker's process": f"kill -0 {os.getpid()}",
    "root of the first process": "ls /proc/1/root/srv",
    "hard link to a file of the system": "ln /etc/passwd passwd",
    "hard link to what is shared": ": >/tmp/x && ln /tmp/x here",
    "core dump": "[ $(ulimit -c) != 0 ] || ulimit -c 1 2>&-",
    "larger file": "ulimit -f unlimited && false || [ $(ulimit -f) = unlimited ]",
    "set-user-id": "cp /bin/sh own && chmod u+s own && grep -q 'NoNewPrivs:.0' /proc/self/status",
    "descriptors": "ls /proc/self/fd | grep -vx '[0-3]'",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_attack_fails(jailed: LocalSandbox, attack: str) -> None:
    result = await jailed.exec(f"({ATTACKS[attack]}) && echo done")
    assert (result.stdout.head.splitlines()[-1:], result.exit_code != 0) == ([], True), result


async def test_every_process_of_a_jail_ends_with_its_command(jailed: LocalSandbox) -> None:
    token = str(new_token())
    for _ in range(5):
        await jailed.exec(
            "for n in 1 2 3 4 5 6 7 8 9 10; do\n"
            f"  env -i setsid sh -c ': {token}; for n in 1 2 3 4 5; do sleep 60 & done; wait' &\n"
            "done"
        )
        command_lines = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
        assert not any(token in word for line in command_lines for word in line or ())


def test_first_process_of_a_jail_that_outlives_bubblewrap_is_ended() -> None:
    if not bubblewrap.works():
        pytest.skip("NO BUBBLEWRAP: install bwrap, and allow it to make namespaces")
    token = str(new_token())
    options = ["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc"]
    with bubblewrap.FirstProcess() as first_process, argument_file(options) as arguments:
        with subprocess.Popen(
            [
                *bubblewrap.command(arguments, first_process.writer),
                "/bin/sh",
                "-c",
                f"echo; sleep {token}",
            ],
            stdout=subprocess.PIPE,
            pass_fds=[arguments, first_process.writer],
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            process.kill()
        assert asyncio.run(first_process.end(10))
    lines = [p.info["cmdline"] or () for p in psutil.process_iter(["cmdline"])]
    assert not any(token in line for line in lines)


async def test_too_many_variables_are_the_jobs_fault(jailed: LocalSandbox) -> None:
    jailed.with_envs({f"V{number}": "" for number in range(3_000)})
    with pytest.raises(StepFailed, match="environment variables"):
        await jailed.exec("true")


async def test_variable_that_is_too_long_is_the_jobs_fault(jailed: LocalSandbox) -> None:
    jailed.with_env("LONG", "x" * 200_000)
    with pytest.raises(StepFailed, match="shorten"):
        await jailed.exec("true")


@pytest.mark.parametrize("jailed", [False, True])
async def test_enforced_limits(tmp_path: Path, jailed: bool) -> None:
    sandbox = LocalSandbox(passthrough={}, scratch=tmp_path, jailed=jailed)
    await sandbox.close()
    bare = {LimitName.TIME, LimitName.OUTPUT, LimitName.CPU}
    assert sandbox.enforced == (set(LimitName) if jailed else bare)


def test_bubblewrap_that_does_not_work_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    bubblewrap._user_namespace_options.cache_clear()
    try:
        for program in ("/bin/false", ""):
            monkeypatch.setattr(bubblewrap, "program", lambda program=program: program)
            assert not bubblewrap.works()
            bubblewrap._user_namespace_options.cache_clear()
    finally:
        monkeypatch.undo()
        bubblewrap._user_namespace_options.cache_clear()
