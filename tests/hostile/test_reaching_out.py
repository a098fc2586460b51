"""Jobs that try to reach the worker's files, variables, secrets, Redis and engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.job import LimitName
from revalid.jobs.result import Verdict
from tests.hostile.conftest import CANARY, Site, engine_socket

CONNECT = """
const net = require('net');
for (const path of JSON.parse(process.argv[1])) {
  const socket = net.connect({path});
  socket.on('connect', () => { console.log('reached', path); socket.destroy(); });
  socket.on('error', error => console.log(error.code, path));
}
"""


def is_walled(site: Site) -> bool:
    """Return whether the sandbox hides the worker; a bare local one reports that it does not."""
    return site.run("true").enforcement[LimitName.PROCESSES] == "enforced"


def test_commands_do_not_get_the_workers_environment(site: Site) -> None:
    result = site.run("env")
    assert CANARY not in result.steps[0].stdout


def test_environment_of_the_worker_cannot_be_read(site: Site) -> None:
    if not is_walled(site):
        pytest.skip("a bare local sandbox protects nothing of the worker")
    result = site.run(
        f"export OWN={CANARY}; sleep 60 & cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep CANARY; "
        f"cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c OWN={CANARY[:6]}"
    )
    lines = result.steps[0].stdout.splitlines()
    assert int(lines[-1]) > 0, "it would be seen"
    assert lines[:-1] == []


def test_redis_and_the_engine_are_out_of_reach(site: Site) -> None:
    if not is_walled(site):
        pytest.skip("a bare local sandbox protects nothing of the worker")
    paths = [str(site.directory / "broker" / "valkey.sock"), *engine_socket()]
    listens = "require('net').createServer(s => s.end()).listen('own', () => process.exitCode)"
    result = site.run(
        f'node -e "{listens}" & until [ -e own ]; do :; done; '
        f"node -e \"$CONNECT\" '{json.dumps(['own', *paths])}'",
        env={"CONNECT": CONNECT},
    )
    lines = set(result.steps[0].stdout.splitlines())
    assert "reached own" in lines
    assert len(lines) == 1 + len(paths)
    assert not any(line.startswith("reached") for line in lines - {"reached own"})


@pytest.mark.parametrize(
    "step",
    [
        {"op": "refresh_from_host", "host_path": "HOST"},
        {"op": "refresh_from_host", "host_path": "/etc"},
        {"op": "refresh_from_host", "host_path": "HOST/../../../../etc"},
    ],
)
def test_directory_of_the_host_is_not_copied_in(
    site: Site, secrets_of_the_host: Path, step: dict[str, Any]
) -> None:
    step_with_path = step | {
        "host_path": step["host_path"].replace("HOST", str(secrets_of_the_host))
    }
    result = site.replay({"op": "exec", "command": "true"}, step_with_path)
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())
    assert "REVALID_SOURCE_ROOTS" in str(result.error)


def test_project_at_a_path_of_the_host_is_rejected(site: Site, secrets_of_the_host: Path) -> None:
    handle = site.client.submit(
        secrets_of_the_host, on_worker=True, commands=["cat canary"], sandbox=site.kind
    )
    result = handle.result(30)
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())


@pytest.mark.parametrize("way", ["absolute", "traversal", "link"])
def test_trajectory_with_host_paths_reaches_only_its_own_files(
    site: Site, secrets_of_the_host: Path, way: str
) -> None:
    path = f"{secrets_of_the_host}/canary"
    if way == "traversal":
        path = f"../../../../..{path}"
    links: tuple[dict[str, Any], ...] = ()
    if way == "link":
        links = ({"op": "exec", "command": f"ln -s {secrets_of_the_host} out"},)
        path = "out/canary"
    result = site.replay(
        *links,
        {"op": "read_file", "path": path},
        {"op": "delete_file", "path": path},
        {"op": "list_directory", "path": str(Path(path).parent)},
        {"op": "write_file", "path": path, "content": "overwritten"},
    )
    assert result.verdict is Verdict.FAILED
    read, delete, listed, _ = result.steps[-4:]
    assert (read.exit_code, delete.exit_code, listed.exit_code) == (1, 1, 1)
    assert CANARY not in result.model_dump_json()


@pytest.mark.parametrize("path", ["out", "../../../..", "HOST"])
def test_export_copies_nothing_of_the_host(
    site: Site, secrets_of_the_host: Path, path: str
) -> None:
    result = site.replay(
        {"op": "exec", "command": f"ln -s {secrets_of_the_host} out; mkdir in; echo own >in/file"},
        {"op": "export_directory", "path": path.replace("HOST", str(secrets_of_the_host))},
        {"op": "export_directory", "path": "in"},
    )
    artifacts = site.directory / "home" / "artifacts" / result.id / "1"
    assert [step.exit_code for step in result.steps] == [0, 1, 0], result
    assert (artifacts / "2" / "file").read_text() == "own\n"
    assert [entry.name for entry in artifacts.iterdir()] == ["2"]


def test_export_of_everything_stays_in_the_sandbox_and_in_time(
    site: Site, secrets_of_the_host: Path
) -> None:
    result = site.replay({"op": "export_directory", "path": "/"}, limits={"command_timeout_s": 3})
    artifacts = site.directory / "home" / "artifacts" / result.id
    (step,) = result.steps
    if step.timed_out:  # an image is large
        assert result.verdict is Verdict.TIMED_OUT
        assert list(artifacts.glob("1/*")) == []
    else:
        names = {entry.name for entry in (artifacts / "1" / "0").iterdir()}
        assert names >= {"workspace", "bin"} if site.kind == "dagger" else names == {"workspace"}


@pytest.mark.parametrize(
    "reference", ["env://CANARY", "env://PATH", "file:///etc/passwd", "file:///proc/self/environ"]
)
def test_secret_outside_the_allow_list_is_rejected(site: Site, reference: str) -> None:
    result = site.run("true", secrets={"TAKEN": reference})
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())
    assert "REVALID_SECRET" in str(result.error)
    assert CANARY not in result.model_dump_json()
