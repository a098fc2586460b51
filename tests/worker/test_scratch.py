"""Scratch directories: gone with their job, or with the next worker."""

import os
import subprocess
import sys
from pathlib import Path

from revalid.worker.scratch import scratch_directory, sweep

KILLED = """
import os, sys
from pathlib import Path
from revalid.worker.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1])) as made:
    (made / "file").write_text("left")
    os.kill(os.getpid(), 9)
"""


def old(root: Path) -> None:
    for each in root.iterdir():
        os.utime(each, (0, 0))


def test_a_directory_is_gone_after_its_job(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as made:
        (made / "file").write_text("content")
        assert made.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1, "it may not be locked yet"
    old(tmp_path)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_use_or_anothers_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with scratch_directory(tmp_path) as made:
        old(tmp_path)
        sweep(tmp_path)
        assert made.is_dir()
    assert [each.name for each in tmp_path.iterdir()] == ["other"]
