"""Ctrl-C at any moment: the command ends, says so once, and leaves nothing running."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.producer.cli import stepped
from tests.producer.cli.conftest import LOCAL, Revalid

POINTS = 15
WITHIN_S = 60
"""A worker has 15 s to give its job back, and a broker 5 s to end; machines may be slow."""


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """Three projects."""
    for number in range(3):
        (tmp_path / "apps" / f"app-{number}").mkdir(parents=True)
        (tmp_path / "apps" / f"app-{number}" / "number").write_text(str(number))
    return tmp_path / "apps"


def asked(kind: str, apps: Path) -> list[str]:
    what = (
        ["batch", "run", str(apps)] if kind == "batch" else ["run", str(apps / "app-0"), "--fresh"]
    )
    return [*what, "--command", "sleep 0.2", *LOCAL, "--json"]


def interrupted(
    revalid: Revalid, arguments: list[str], *places: str, number: int = signal.SIGINT
) -> tuple[int, str, str]:
    """Exit status and output of a command that is signalled at places."""
    return ended(revalid, ",".join(places), str(int(number)), arguments)


def ended(revalid: Revalid, places: str, told: str, arguments: list[str]) -> tuple[int, str, str]:
    process = subprocess.Popen(
        [sys.executable, "-P", stepped.__file__, places, told, *arguments],
        env=revalid.environ,
        cwd=revalid.home.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    revalid.started.append(process)
    out, err = process.communicate(timeout=WITHIN_S)
    assert "Traceback" not in err, err
    if out:
        json.loads(out)  # one document, or none
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "producer/cli/app.py:<module>:call:1",
        "concurrent/futures/_base.py:_AcquireFutures.__enter__:c_return:1",
        "threading.py:Condition.__enter__:return:12",
        "producer/local/workers.py:LocalWorker.__init__:return:1",
        "subprocess.py:Popen._execute_child:c_return:12",
    ],
    ids=["import", "lock of a future", "lock of a condition", "worker's start", "fork"],
)
def test_interrupted_where_it_hurts(revalid: Revalid, apps: Path, place: str) -> None:
    """With a lock that is never released, the packing threads would wait for ever."""
    status, _, err = interrupted(revalid, asked("batch", apps), place)
    assert status == 130, err


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("kind", ["run", "batch"])
def test_interrupted_anywhere(revalid: Revalid, apps: Path, tmp_path: Path, kind: str) -> None:
    arguments = asked(kind, apps)
    counted = tmp_path / "counted"
    status, _, err = ended(revalid, "count", str(counted), arguments)
    assert status == 0, err
    chance = random.Random(1)
    for nth in (chance.randrange(1, int(counted.read_text())) for _ in range(POINTS)):
        number = chance.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        status, out, err = interrupted(revalid, arguments, f"*:*:*:{nth}", number=number)
        over = status == 0 and not json.loads(out).get("error")  # it had its verdict before
        assert status == 130 or over, f"event {nth}, signal {number}: {status}: {out}{err}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "batch"])
def test_two_interrupts_end_it_at_once(revalid: Revalid, apps: Path, kind: str) -> None:
    status, out, err = interrupted(
        revalid,
        asked(kind, apps),
        "producer/local/workers.py:LocalWorker.wait:call:1",
        "producer/local/workers.py:LocalWorker.stop:call:1",
    )
    assert (status, out, err) == (130, "", ""), "the first would have been told"


def test_an_interrupt_that_a_destructor_swallows_is_not_lost() -> None:
    code = """
import os, signal
from revalid.producer.cli import interrupt

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

interrupt.listen()
Swallows()
try:
    with interrupt.deferred():
        raise SystemExit("not interrupted")
except KeyboardInterrupt:
    pass
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, "Exception ignored" in ran.stderr) == (0, True), ran.stderr
