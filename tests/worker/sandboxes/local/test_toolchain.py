"""The digest of the programs that commands of a local sandbox find."""

import os
from pathlib import Path

import pytest

from revalid.worker.sandboxes.local.toolchain import toolchain


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with two programs; the second is a shim."""
    (tmp_path / "version").write_text("3.11\n")
    (tmp_path / "git").write_text("1")
    shim = tmp_path / "python3"
    shim.write_text(f"#!/bin/sh\necho Python $(cat {tmp_path}/version)\n")
    shim.chmod(0o755)
    return tmp_path


def digest(programs: Path) -> str:
    return toolchain(os.pathsep.join([str(programs), "/usr/bin", "/nowhere"]))


def test_equal_programs_have_equal_digests(programs: Path) -> None:
    assert digest(programs) == digest(programs)
    assert digest(programs).startswith("sha256:")


def test_a_program_that_is_added_changed_or_removed_shows(programs: Path) -> None:
    found = {digest(programs)}
    (programs / "node").write_text("1")
    found.add(digest(programs))
    os.utime(programs / "node", (1, 1))
    found.add(digest(programs))
    (programs / "git").unlink()
    found.add(digest(programs))
    assert len(found) == 4


def test_a_shim_stands_for_the_version_that_it_names(programs: Path) -> None:
    before = digest(programs)
    version = programs / "version"
    old = version.stat()
    version.write_text("3.12\n")
    os.utime(version, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert digest(programs) != before


def test_the_order_of_the_directories_counts(programs: Path) -> None:
    assert toolchain(f"{programs}:/usr/bin") != toolchain(f"/usr/bin:{programs}")
