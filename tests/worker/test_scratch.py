"""Scratch directories: removed with their job, or by the next worker."""

import os
import subprocess
import sys
from pathlib import Path

from revalid.worker.scratch import scratch_directory, sweep

KILLED = """
import os, sys
from pathlib import Path
from revalid.worker.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1])) as directory:
    (directory / "file").write_text("left")
    os.kill(os.getpid(), 9)
"""


def make_old(root: Path) -> None:
    for directory in root.iterdir():
        os.utime(directory, (0, 0))


def test_a_directory_is_removed_after_its_job(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as directory:
        (directory / "file").write_text("content")
        assert directory.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_directory_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1, "it may not be locked yet"
    make_old(tmp_path)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_directories_in_use_or_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with scratch_directory(tmp_path) as directory:
        make_old(tmp_path)
        sweep(tmp_path)
        assert directory.is_dir()
    assert [directory.name for directory in tmp_path.iterdir()] == ["other"]
