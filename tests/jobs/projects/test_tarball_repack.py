"""Archives that somebody made: each is packed as the directory that it was made of."""

import gzip
import io
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.tarball import Summary, pack, repack
from tests.jobs.tarballs import BOUNDS, END, FILE, directory, entry, hard_link, link, zstd

ATTRIBUTES = b"\0\5\26\7" + bytes(40)


def tarred(root: Path) -> bytes:
    """A tarball as ``tar cz`` makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(root, arcname=root.name)
    return out.getvalue()


def zipped(root: Path) -> bytes:
    """A zip archive as ``zip -ry`` makes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            name = f"{root.name}/{path.relative_to(root)}" + "/" * path.is_dir()
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = path.lstat().st_mode << 16
            linked = path.is_symlink()
            content = str(path.readlink()).encode() if linked else b""
            archive.writestr(info, content if linked or path.is_dir() else path.read_bytes())
    return out.getvalue()


def zstandard(root: Path) -> bytes:
    """A tarball as ``tar c --zstd`` makes it."""
    return zstd.compress(gzip.decompress(tarred(root)))


def repacked(data: bytes) -> tuple[bytes, Summary]:
    """What is stored of an archive."""
    out = io.BytesIO()
    summary = repack(io.BytesIO(data), out, BOUNDS)
    return out.getvalue(), summary


def members(data: bytes) -> dict[str, bytes]:
    """The files of what is stored of an archive."""
    with tarfile.open(fileobj=io.BytesIO(repacked(data)[0])) as tar:
        files = [info for info in tar if info.isreg()]
        return {info.name: content.read() for info in files if (content := tar.extractfile(info))}


@pytest.mark.parametrize("archive", [tarred, zipped, zstandard])
@pytest.mark.parametrize("checkout", [False, True])
def test_an_archive_is_packed_as_its_directory(
    archive: Callable[[Path], bytes], checkout: bool, tmp_path: Path
) -> None:
    root = tmp_path / "app"
    files = {
        "package.json": b"{}",
        "run.sh": b"git rev-parse HEAD",
        "dist/a.js": b"1",
        ".gitignore": b"dist/\n",
        "src/\N{SNOWMAN}.js": b"2",
        "._package.json": ATTRIBUTES,
        "__MACOSX/._src": ATTRIBUTES,
        "node_modules/a/index.js": b"3",
        ".venv/pyvenv.cfg": b"",
        "empty/.keep": b"",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "run.sh").chmod(0o755)
    (root / "linked.js").symlink_to("src/\N{SNOWMAN}.js")
    (root / ".venv" / "python").symlink_to("/usr/bin/python3")
    if checkout:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        for command in (["init", "-q"], ["add", "-f", "dist"], ["commit", "-qm", "a"]):
            subprocess.run(["git", *who, *command], cwd=root, check=True)
    direct = io.BytesIO()
    summary = pack(root, direct, BOUNDS)
    assert repacked(archive(root)) == (direct.getvalue(), summary)
    left_out = {item.path for item in summary.left_out}
    assert {"node_modules/", ".venv/", "._package.json", "__MACOSX/"} <= left_out
    assert ("dist/" in left_out) is not checkout


def test_attributes_of_macos_beside_the_one_directory_do_not_count() -> None:
    data = entry("._app", ATTRIBUTES) + entry("app/a") + entry("app/._a", ATTRIBUTES) + END
    assert members(data) == {"a": b""}


@pytest.mark.parametrize(
    ("appended", "kept"),
    [
        (entry("a", b"new"), {"a": b"new"}),
        (entry("./b/../a", b"new"), {"a": b"new"}),
        (link("a", "b") + entry("b", b"other"), {"b": b"other"}),
        (link("l", "a") + entry("l", b"own"), {"a": b"text", "l": b"own"}),
        (hard_link("h", "a") + entry("a", b"new"), {"a": b"new", "h": b"text"}),
        (hard_link("a", "a"), {"a": b"text"}),
        (directory("d") + directory("d"), {"a": b"text"}),
    ],
)
def test_the_last_of_equal_entries_wins(appended: bytes, kept: dict[str, bytes]) -> None:
    assert members(FILE + appended + END) == kept


def test_links_out_are_refused_where_they_belong_to_the_project() -> None:
    for target in ("/etc/passwd", "../escaped"):
        with pytest.raises(InvalidProject, match="'a' links out of the project"):
            repacked(link("a", target) + entry("b") + END)
    assert members(link(".venv", "/opt/venv") + entry("b") + END) == {"b": b""}


def test_errors_name_no_temporary_directory() -> None:
    with pytest.raises(InvalidProject, match=r"\Athe archive: it has no files besides ignored"):
        repacked(entry(".gitignore", b"*\n") + entry("a") + END)


def test_an_executable_of_a_zip_stays_one(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"")
    (tmp_path / "run").chmod(0o755)
    with tarfile.open(fileobj=io.BytesIO(repacked(zipped(tmp_path))[0])) as tar:
        assert stat.S_IMODE(tar.getmember("run").mode) == 0o755
