"""Row 27: a run that joined another client's job dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from revalid.producer.client import Client
from tests.faults.cli import MAIN
from tests.faults.conftest import Proved
from tests.faults.effects import await_event
from tests.faults.fleet import Fleet, eventually


@pytest.mark.row(27)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_joined_dies(
    client: Client, fleet: Fleet, short: Path, proved: Proved, number: signal.Signals
) -> None:
    project, gate = short / "project", short / "gate"
    project.mkdir()
    (project / "file").write_text("")
    line = f"until [ -e {gate} ]; do sleep 0.05; done"
    handle = client.submit(project, commands=[line], sandbox="local")
    fleet.start()
    await_event(handle, "step_started")
    arguments = ["run", str(project), "--sandbox", "local", "--command", line]
    own = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", MAIN, *arguments],
        env={**own, "REVALID_BROKER_URL": client.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as joined:
        eventually(lambda: len(client._redis.smembers(f"revalid:asked:{handle.id}")) == 2)
        joined.send_signal(number)
        printed = joined.communicate(timeout=60)[0]
    assert handle.status().cancelling is False
    gate.touch()
    result = handle.result(60)
    assert (result.verdict, result.attempts) == ("passed", 1)
    assert client.submit(project, commands=[line], sandbox="local").result(60).reused
    assert number is signal.SIGKILL or "the job goes on" in printed
    proved(f"{number.name}: the run ended with {joined.returncode}, the job passed in attempt 1")
