"""The wrapper as process 1 of its own namespace, without an engine."""

import base64
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from threading import Thread

import pytest

from revalid.jobs.job import LimitName
from revalid.worker.sandboxes.dagger.containers import APPLETS
from revalid.worker.sandboxes.dagger.exec_wrapper import (
    ENGINE_VARIABLES,
    TOOLS,
    parse_report,
    wrapped,
)
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.sandboxes.protocol import ExecResult
from revalid.worker.serving import Probe, Serving
from tests.contract.checks import whole

SCRIPT = files("revalid.worker.sandboxes.dagger").joinpath("exec.sh")
Wrapper = Callable[..., ExecResult]

SMALL = CommandLimits(memory_bytes=64 * 2**20, processes=40, disk_bytes=2**25, cpu_s=1)


def test_wrapper_removes_each_variable_of_the_engine() -> None:
    loop = SCRIPT.read_text().split("for _revalid_ in ")[1].split("; do")[0]
    assert tuple(loop.replace("\\\n", " ").split()) == ENGINE_VARIABLES


@pytest.fixture
def live_output() -> dict[str, bytes]:
    """Return what the wrapper printed of each stream while the command ran."""
    return {"out": b"", "err": b""}


@pytest.fixture
def wrapper(tmp_path: Path, live_output: dict[str, bytes]) -> Wrapper:
    """Return a function that runs a command as root, in a root directory of its own."""
    busybox = shutil.which("busybox")
    if not bubblewrap.works() or busybox is None:
        pytest.skip("NO BUSYBOX in bubblewrap: install both")
    root, tools = tmp_path / "root", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    shutil.copy(busybox, tools / "busybox")
    for name in APPLETS:
        (tools / name).symlink_to("busybox")
    for name in ("exec.sh", "probe.sh"):
        shutil.copy(str(files("revalid.worker.sandboxes.dagger").joinpath(name)), tools)
    system = [("--ro-bind", f"/{name}", f"/{name}") for name in ("usr", "bin", "lib", "sbin")]
    if Path("/lib64").exists():
        system.append(("--ro-bind", "/lib64", "/lib64"))
    jail = [
        *("bwrap", "--die-with-parent", "--unshare-pid", "--as-pid-1", "--bind", str(root), "/"),
        *(word for bind in system for word in bind),
        *("--proc", "/proc", "--dev", "/dev", "--ro-bind", str(tools), TOOLS),
    ]

    def run(
        command: str,
        timeout_s: float = 20,
        limits: CommandLimits = SMALL,
        output_bytes: int = 1_000,
        live: int = 0,
        probe: Probe | None = None,
    ) -> ExecResult:
        nonce = secrets.token_hex(8)
        arguments = wrapped(command, "0", timeout_s, output_bytes, limits, nonce, live, probe)
        process = subprocess.run(
            [*jail, "--", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (process.returncode, process.stderr) == (0, b"")
        assert [path.name for path in (root / ".revalid").iterdir()] == ["report"]
        result = parse_report((root / ".revalid" / "report").read_text(), nonce, probe)
        for line in process.stdout.decode().splitlines(keepends=True):
            line_nonce, stream, start, *pieces = line.split()
            assert (line_nonce, int(start), line[-1]) == (nonce, len(live_output[stream]), "\n")
            assert len(line) <= 4096  # a pipe takes this much in one write
            live_output[stream] += base64.b64decode("".join(pieces), validate=True)
        assert len(live_output["out"] + live_output["err"]) <= live
        return result

    return run


@pytest.mark.parametrize(
    ("command", "code"), [("exit 3", 3), ("kill -INT $$", 130), ("kill -9 -1; :", 137)]
)
def test_exit_code(wrapper: Wrapper, command: str, code: int) -> None:
    result = wrapper(f"echo out; echo err >&2; sleep 0.2; {command}")
    assert (result.exit_code, result.timed_out, result.limit_exceeded) == (code, False, None)
    assert (whole(result.stdout), whole(result.stderr)) == (b"out\n", b"err\n")


def test_the_wrappers_own_arguments_may_be_commands(wrapper: Wrapper) -> None:
    assert wrapper("start").exit_code == wrapper("watch-").exit_code == 127


def test_time_limit(wrapper: Wrapper) -> None:
    result = wrapper("trap 'echo cleaned; exit 4' TERM; echo up; while :; do sleep 0.05; done", 1)
    assert (result.exit_code, result.timed_out) == (4, True)
    assert whole(result.stdout) == b"up\ncleaned\n"


@pytest.mark.parametrize(
    ("command", "limit", "code"),
    [
        ("n=0; while [ $n -lt 160 ]; do sleep 30 & n=$((n + 1)); done; wait", "processes", 137),
        ("x=$(head -c 250000000 /dev/zero | tr '\\0' x); sleep 30; : $x", "memory", 137),
        (
            "for n in 1 2 3 4; do head -c 30000000 /dev/zero >/f$n; sleep 1; done; sleep 30",
            "disk",
            137,
        ),
        ("head -c 100000000 /dev/zero >/file", "disk", 153),
        ("while :; do :; done", "cpu", 152),
    ],
)
def test_other_limits(wrapper: Wrapper, command: str, limit: str, code: int) -> None:
    result = wrapper(f"echo before; {command}", limits=SMALL if limit != "memory" else BIG_CPU)
    assert (result.limit_exceeded, result.exit_code) == (LimitName(limit), code)
    assert whole(result.stdout) == b"before\n"


BIG_CPU = CommandLimits(memory_bytes=64 * 2**20)


def test_large_output_is_kept_in_parts(wrapper: Wrapper) -> None:
    result = wrapper("seq 1 30000000; echo end", limits=CommandLimits(), output_bytes=100)
    assert result.stdout.size == 258_888_897 + 4
    assert result.stdout.head.startswith(b"1\n2\n3\n")
    assert result.stdout.tail.endswith(b"29999999\n30000000\nend\n")
    assert len(result.stdout.head + result.stdout.tail) == 100


def test_output_is_printed_while_the_command_runs(
    wrapper: Wrapper, live_output: dict[str, bytes]
) -> None:
    result = wrapper("seq 2000; printf '\\377\\000' >&2; sleep 3", output_bytes=100_000, live=3_000)
    assert result.stdout.head.startswith(live_output["out"])
    assert live_output["err"] == b"\xff\x00"
    assert len(live_output["out"]) == 3_000 - 2


def test_command_may_truncate_or_remove_its_output_files(
    wrapper: Wrapper, live_output: dict[str, bytes]
) -> None:
    result = wrapper("echo out; sleep 0.6; : >/.revalid/out.0; sleep 0.6; rm -r /.revalid", live=99)
    assert (result.exit_code, live_output) == (0, {"out": b"out\n", "err": b""})


def test_variables_reach_only_the_command(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("code", "limit", "dir", "n", "PATH", "BASH_ENV", "ENV", "NONCE")
    for name in names:
        monkeypatch.setenv(name, f"/usr/bin:/bin:{name}")
    result = wrapper("".join(f"echo ${{{name}}};" for name in names) + "cat /proc/1/environ")
    *printed, own = whole(result.stdout).decode().split("\n")
    assert printed == [f"/usr/bin:/bin:{name}" for name in names]
    assert own.split("\0")[:1] == [f"PATH={TOOLS}"]
    assert [word.partition("=")[0] for word in own.split("\0")[1:]] == ["NONCE", ""]


def test_a_socket_of_no_process_of_the_command_is_not_asked(
    wrapper: Wrapper, tmp_path: Path
) -> None:
    begun, late = tmp_path / "root" / "begun", socket.socket()
    os.mkfifo(begun)

    def listen() -> None:
        """Listen in the same network, as the engine does, once the command runs."""
        begun.read_text()
        late.bind(("127.0.0.1", 0))
        late.listen()

    other = Thread(target=listen)
    other.start()
    with late:
        result = wrapper("echo >/begun; sleep 10", probe=Probe(ready_s=3))
    other.join()
    assert result.serving == Serving()
