"""The two distributions, each built and installed in a fresh environment."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = """\
from revalid import Client

with Client(url="redis://localhost:6379/0") as client:
    job = client.submit("app", strategy="trpc")
    client.submit("app", strategy="nope")
    reveal_type(job.result().steps[0].status)
"""
IMPORTS = """\
from importlib.util import find_spec
import revalid

for name in revalid.__all__:
    getattr(revalid, name)
tops = ("jobs", "worker", "producer", "dagger", "flower")
inner = ("revalid.jobs", "revalid.producer", "revalid.worker")
print(*[name for name in (*tops, *inner) if find_spec(name)])
"""
pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]


def run(*arguments: str | Path, cwd: Path, status: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in arguments], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def build(source: Path, into: Path) -> tuple[Path, set[str]]:
    """Build a wheel; return it and the names of its files."""
    wheel_command = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", into)
    run(sys.executable, *wheel_command, source, cwd=into.parent)
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel, set(archive.namelist())


@pytest.mark.parametrize(
    ("source", "importable"),
    [
        pytest.param(
            ".", "dagger flower revalid.jobs revalid.producer revalid.worker", id="revalid"
        ),
        pytest.param("client", "revalid.jobs revalid.producer", id="revalid-client"),
    ],
)
def test_a_wheel_installs_one_typed_package(source: str, importable: str, tmp_path: Path) -> None:
    wheel, names = build(ROOT / source, tmp_path / "wheel")
    distribution, version, *_ = wheel.name.split("-")
    tops = {name.split("/")[0] for name in names}
    assert tops == {"revalid", f"{distribution}-{version}.dist-info"}

    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    for command in ([python.with_name("revalid")], [python, "-m", "revalid"]):
        assert run(*command, "--version", cwd=tmp_path) == f"revalid {version}\n"
    assert run(python, "-c", IMPORTS, cwd=tmp_path) == f"{importable}\n"

    (tmp_path / "backend.py").write_text(USER)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python)
    lines = run(*mypy, "backend.py", cwd=tmp_path, status=1).splitlines()
    assert [line.split(":")[1] for line in lines if ": error:" in line] == ["5"], lines
    assert any("revalid.jobs.result.StepStatus" in line for line in lines)


def test_the_image_installs_every_file_of_the_package(tmp_path: Path) -> None:
    everything, *lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert everything == "*"
    context = tmp_path / "context"
    context.mkdir()
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, context / name)
    assert build(context, tmp_path / "image")[1] == build(ROOT, tmp_path / "wheel")[1]
