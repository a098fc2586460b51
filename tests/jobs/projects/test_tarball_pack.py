"""Packing: equal trees give equal bytes, and unsafe or unreadable files are refused."""

import gzip
import os
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.tarball import Bounds, Summary, check, digest, pack, unpack
from tests.jobs.samples import unprivileged

BOUNDS = Bounds(files=100, bytes=10_000)


def packed(root: Path, bounds: Bounds = BOUNDS) -> bytes:
    out = BytesIO()
    pack(root, out, bounds)
    return out.getvalue()


def members(root: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=BytesIO(packed(root))) as tar:
        return {member.name: member for member in tar}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src" / "empty").mkdir(parents=True)
    (root / "package.json").write_text("{}")
    (root / "src" / "main.py").write_text("print()\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("src/main.py")
    return root


def test_equal_trees_give_equal_bytes(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another name"
    for name in ("src/empty/", "link", "run.sh", "package.json", "src/main.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (copy / name).mkdir()
        else:
            shutil.copyfile(project / name, copy / name, follow_symlinks=False)
    (copy / "run.sh").chmod(0o700)
    (copy / "package.json").chmod(0o664)
    (copy / "src").chmod(0o700)
    for number, path in enumerate(sorted(copy.rglob("*"))):
        os.utime(path, (number, number), follow_symlinks=False)
    assert packed(copy) == packed(project)


@pytest.mark.parametrize("change", ["content", "name", "mode", "link", "directory"])
def test_different_trees_give_different_bytes(project: Path, change: str) -> None:
    before = packed(project)
    match change:
        case "content":
            (project / "package.json").write_text("[]")
        case "name":
            (project / "package.json").rename(project / "package.jso")
        case "mode":
            (project / "package.json").chmod(0o755)
        case "link":
            (project / "link").unlink()
            (project / "link").symlink_to("src")
        case "directory":
            (project / "src" / "empty").rmdir()
    assert packed(project) != before


def test_nothing_of_this_machine_is_packed(project: Path) -> None:
    found = members(project).values()
    assert {(member.uid, member.gid, member.uname, member.gname) for member in found} == {
        (0, 0, "", "")
    }
    assert len({member.mtime for member in found}) == 1
    flags_and_time = packed(project)[3:8]
    assert flags_and_time == bytes(5)
    assert b"project" not in gzip.decompress(packed(project))


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        (0o755, 0o755),
        (0o700, 0o755),
        (0o644, 0o644),
        (0o600, 0o644),
        (0o666, 0o644),
        (0o4755, 0o755),
    ],
)
def test_only_the_exec_bit_of_a_mode_is_kept(project: Path, mode: int, kept: int) -> None:
    (project / "package.json").chmod(mode)
    assert members(project)["package.json"].mode == kept


def test_packing_and_unpacking_round_trip(project: Path, tmp_path: Path) -> None:
    out = BytesIO()
    summary = pack(project, out, BOUNDS)
    assert summary == Summary(files=6, size_bytes=len("{}print()\n#!/bin/sh\n"))
    assert check(out, BOUNDS) == summary
    into = tmp_path / "into"
    into.mkdir()
    assert unpack(out, into, BOUNDS) == summary
    assert packed(into) == out.getvalue()
    assert (into / "link").readlink() == Path("src/main.py")
    assert (into / "run.sh").stat().st_mode & 0o777 == 0o755


def test_names_that_are_no_text_are_packed_and_unpacked(tmp_path: Path) -> None:
    names = {os.fsdecode(b"caf\xe9"), "ü" * 120, "a\nb", "x" * 255}
    root, into = tmp_path / "root", tmp_path / "into"
    for directory in (root, into):
        directory.mkdir()
    for name in names:
        (root / name).write_text("")
    unpack(BytesIO(packed(root)), into, BOUNDS)
    assert {path.name for path in into.iterdir()} == names


def test_ignored_files_are_not_packed(project: Path) -> None:
    (project / "node_modules").mkdir()
    (project / "node_modules" / "out").symlink_to("/etc")
    (project / ".gitignore").write_text("src/\n")
    assert members(project).keys() == {".gitignore", "link", "package.json", "run.sh"}


def test_pipes_and_sockets_are_passed_over(project: Path) -> None:
    before = packed(project)
    os.mkfifo(project / "pipe")
    assert packed(project) == before


@pytest.mark.parametrize("target", ["main.py", "../package.json", ".", "..", "none", "./../src//x"])
def test_a_link_inside_is_kept_as_it_is(project: Path, target: str) -> None:
    (project / "src" / "inner").symlink_to(target)
    (found,) = [member for name, member in members(project).items() if name == "src/inner"]
    assert found.issym()
    assert found.linkname == os.fspath((project / "src" / "inner").readlink())


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../..", "../../x", "../../project/x", "empty/../../../x", "a/../b"]
)
def test_a_link_out_is_refused(project: Path, target: str) -> None:
    (project / "src" / "out").symlink_to(target)
    with pytest.raises(InvalidProject, match=r"'src/out' links out of the project, to .*: remove"):
        packed(project)


def test_an_unreadable_file_is_named() -> None:
    with unprivileged() as root:
        (root / "a.txt").write_text("")
        (root / "a.txt").chmod(0)
        words = r"a\.txt: Permission denied; make it readable, or exclude it by \.gitignore$"
        with pytest.raises(InvalidProject, match=words):
            packed(root)


def test_a_project_of_too_many_files_is_refused(project: Path) -> None:
    packed(project, Bounds(files=6, bytes=10_000))
    with pytest.raises(
        InvalidProject, match=r"more than 5 files: .*\.gitignore, or raise REVALID_P"
    ):
        packed(project, Bounds(files=5, bytes=10_000))


def test_directories_count_as_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    assert pack(tmp_path, BytesIO(), Bounds(files=3, bytes=1)).files == 3
    with pytest.raises(InvalidProject, match="more than 2 files"):
        packed(tmp_path, Bounds(files=2, bytes=1))


def test_a_project_of_too_many_bytes_is_refused(project: Path) -> None:
    packed(project, Bounds(files=100, bytes=20))
    with pytest.raises(
        InvalidProject, match=r"more than 19 bytes: .*, or raise REVALID_PROJECT_BYTES"
    ):
        packed(project, Bounds(files=100, bytes=19))


def test_a_path_that_is_not_a_directory_is_refused(project: Path) -> None:
    for path in (project / "none", project / "package.json"):
        with pytest.raises(InvalidProject, match=f"^project {path}: no such directory; give a"):
            packed(path)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(InvalidProject, match="it has no files besides ignored ones"):
        packed(tmp_path)


def test_a_digest_is_of_the_whole_file_and_leaves_it_at_its_start() -> None:
    file = BytesIO(b"abc")
    file.read()
    assert digest(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file.read() == b"abc"
