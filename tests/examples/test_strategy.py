"""The example of a plug-in works where it is installed beside revalid."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "strategy-elixir"
pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]


def run(*arguments: str | Path, cwd: Path, given: str | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in arguments], cwd=cwd, capture_output=True, text=True, input=given
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_worker_finds_the_installed_plug_in(tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", ROOT, EXAMPLE, "pytest", cwd=tmp_path)
    alone = ("--rootdir", tmp_path, "-c", "/dev/null", "-p", "no:cacheprovider")
    run(python, "-m", "pytest", *alone, EXAMPLE / "tests", cwd=tmp_path)
    project = tmp_path / "app"
    project.mkdir()
    (project / "mix.exs").touch()
    asked = f'{{"path": "{project}", "job": {{}}}}\n'
    planned = run(python, "-m", "revalid.worker.dry_run", cwd=tmp_path, given=asked)
    assert '"strategy": "example-elixir"' in planned
    listed = run(python, "-m", "revalid.worker.strategies", cwd=tmp_path)
    assert '"name": "example-elixir"' in listed
    assert '"problem": null' in listed
