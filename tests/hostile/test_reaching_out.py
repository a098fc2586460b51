"""Jobs that reach for what is the worker's: its files, variables, secrets, Redis and engine."""

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
    """Whether the sandbox hides the worker; a bare local one does not, and says so."""
    return site.run("true").enforcement[LimitName.PROCESSES] == "enforced"


def test_environment_of_the_worker_is_not_the_commands(site: Site) -> None:
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
    asked = step | {"host_path": step["host_path"].replace("HOST", str(secrets_of_the_host))}
    result = site.replay({"op": "exec", "command": "true"}, asked)
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())
    assert "REVALID_SOURCE_ROOTS" in str(result.error)


def test_project_at_a_path_of_the_host_is_rejected(site: Site, secrets_of_the_host: Path) -> None:
    handle = site.client.submit(
        secrets_of_the_host, on_worker=True, commands=["cat canary"], sandbox=site.kind
    )
    result = handle.result(30)
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())


@pytest.mark.parametrize("way", ["absolute", "traversal", "link"])
def test_trajectory_that_names_host_paths_reaches_its_own_files_only(
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
def test_export_takes_nothing_of_the_host_and_goes_nowhere_else(
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
    assert [each.name for each in artifacts.iterdir()] == ["2"]


def test_export_of_everything_is_of_the_sandbox_and_within_the_time(
    site: Site, secrets_of_the_host: Path
) -> None:
    result = site.replay({"op": "export_directory", "path": "/"}, limits={"command_timeout_s": 3})
    artifacts = site.directory / "home" / "artifacts" / result.id
    (step,) = result.steps
    if step.timed_out:  # an image is large
        assert result.verdict is Verdict.TIMED_OUT
        assert list(artifacts.glob("1/*")) == []
    else:
        names = {each.name for each in (artifacts / "1" / "0").iterdir()}
        assert names >= {"workspace", "bin"} if site.kind == "dagger" else names == {"workspace"}


@pytest.mark.parametrize(
    "reference", ["env://CANARY", "env://PATH", "file:///etc/passwd", "file:///proc/self/environ"]
)
def test_secret_outside_the_allow_list_is_rejected(site: Site, reference: str) -> None:
    result = site.run("true", secrets={"TAKEN": reference})
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())
    assert "REVALID_SECRET" in str(result.error)
    assert CANARY not in result.model_dump_json()
