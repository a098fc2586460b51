"""Which files of a directory are packed: what Git tracks, and what no rule leaves out."""

import stat
import subprocess
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import MAX_LENGTH
from revalid.jobs.projects.ignore import MAX_RULES, Selection
from tests.jobs.samples import unprivileged


def make(root: Path, *names: str, **files: str) -> None:
    """Files by name, directories with a trailing slash; ``gitignore`` and ``dockerignore``."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text(name)
    for name, text in files.items():
        (root / f".{name}").write_text(text)


def packed(root: Path) -> list[str]:
    """Return the packed files, without directories and the ignore files themselves."""
    return [
        name
        for name, _, status in Selection(root).entries()
        if not stat.S_ISDIR(status.st_mode) and not name.endswith("ignore")
    ]


TAG = "Signature: 8a477f597d28d172789f06886806bc55"
MADE = {
    "node_modules/": {"package.json": "{}", "node_modules/left/index.js": ""},
    "a/node_modules/": {"a/node_modules/.bin/tsc": ""},
    ".next/": {"package.json": "{}", ".next/cache/x": ""},
    "a/.turbo/": {"a/package.json": "{}", "a/.turbo/log": ""},
    "env/": {"env/pyvenv.cfg": "", "env/lib/a.py": ""},
    "src/__pycache__/": {"src/__pycache__/a.cpython-312.pyc": ""},
    "a.egg-info/": {"a.egg-info/PKG-INFO": ""},
    ".mypy_cache/": {".mypy_cache/CACHEDIR.TAG": TAG, ".mypy_cache/x.json": ""},
    "__MACOSX/": {"__MACOSX/a": ""},
    "a/.DS_Store": {"a/.DS_Store": ""},
    "._a.js": {"._a.js": "\0\5\26\7rest"},
    "server/tsconfig.tsbuildinfo": {"server/tsconfig.tsbuildinfo": "{}"},
    ".git/": {".git/HEAD": ""},
    ".hg/": {".hg/dirstate": ""},
}
NOT_MADE = {
    "fixtures/node_modules/left/index.js": {"fixtures/node_modules/left/index.js": ""},
    "build/build.js": {"package.json": "{}", "build/build.js": ""},
    "dist/index.js": {"package.json": "{}", "dist/index.js": ""},
    "src/coverage/limits.js": {"src/coverage/limits.js": ""},
    "venv/main.py": {"venv/main.py": ""},
    ".venv/readme": {".venv/readme": ""},
    ".next/docs.md": {".next/docs.md": ""},
    "__pycache__/data.json": {"__pycache__/data.json": ""},
    "cache/CACHEDIR.TAG": {"cache/CACHEDIR.TAG": "notes"},
    "a.egg-info/notes": {"a.egg-info/notes": ""},
    "._notes": {"._notes": "words"},
    "node_modules": {"node_modules": "", "package.json": "{}"},
}


def write(root: Path, files: dict[str, str]) -> None:
    """Write files by name."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize("made", MADE)
def test_what_a_tool_made_is_left_out(tmp_path: Path, made: str) -> None:
    write(tmp_path, MADE[made] | {"kept": ""})
    left = {name for name in packed(tmp_path) if name.startswith(made)}
    assert left == set()
    assert "kept" in packed(tmp_path)


@pytest.mark.parametrize("kept", NOT_MADE)
def test_a_name_alone_leaves_nothing_out(tmp_path: Path, kept: str) -> None:
    write(tmp_path, NOT_MADE[kept])
    assert kept in packed(tmp_path)


def git(root: Path, *arguments: str) -> None:
    """Run git as somebody."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def test_nothing_that_git_tracks_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "package.json", "node_modules/own/a.js", "dist/app.js", "dist/more.js", "new.js")
    make(tmp_path, "logs/a.log", "node_modules/b.js", gitignore="dist/\n*.log\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "-f", "package.json", "node_modules/own", "dist/app.js", ".gitignore")
    git(tmp_path, "commit", "-m", "first")
    assert packed(tmp_path) == ["new.js", "package.json", "dist/app.js", "node_modules/own/a.js"]


def test_a_directory_below_a_checkout_is_read_as_one(tmp_path: Path) -> None:
    make(tmp_path, "app/dist/app.js", "app/kept")
    make(tmp_path / "app", gitignore="dist/\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "-f", "app/dist")
    assert packed(tmp_path / "app") == ["kept", "dist/app.js"]


def test_what_is_left_out_is_told_with_its_rule(tmp_path: Path) -> None:
    make(tmp_path, "package.json", "node_modules/a/index.js", "src/lib/a.js", gitignore="x\nlib/\n")
    selection = Selection(tmp_path)
    assert [name for name, _, _ in selection.entries()] == [".gitignore", "package.json", "src"]
    assert [(item.path, item.rule, item.size_bytes) for item in selection.left_out] == [
        ("node_modules/", "installed packages", len("node_modules/a/index.js")),
        ("src/lib/", "lib/ in .gitignore", len("src/lib/a.js")),
    ]


def test_only_what_is_not_sent_is_told(tmp_path: Path) -> None:
    make(tmp_path, "dist/app.js", "dist/map.js", "dist/more/x.js", gitignore="dist/\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "-f", "dist/app.js", ".gitignore")
    selection = Selection(tmp_path)
    assert "dist/app.js" in [name for name, _, _ in selection.entries()]
    assert [(item.path, item.rule, item.size_bytes) for item in selection.left_out] == [
        ("dist/map.js", "dist/ in .gitignore", len("dist/map.js")),
        ("dist/more/", "dist/ in .gitignore", len("dist/more/x.js")),
    ]


@pytest.mark.parametrize("name", ["node_modules", ".venv"])
def test_a_link_out_that_a_tool_made_is_left_out(tmp_path: Path, name: str) -> None:
    make(tmp_path, "package.json")
    (tmp_path / name).symlink_to("/opt/shared")
    assert packed(tmp_path) == ["package.json"]
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("package.json")
    assert packed(tmp_path) == sorted([name, "package.json"])


def test_a_submodule_that_is_not_checked_out_is_told(tmp_path: Path) -> None:
    make(tmp_path / "other", "a")
    git(tmp_path / "other", "init")
    git(tmp_path / "other", "add", "a")
    git(tmp_path / "other", "commit", "-m", "a")
    make(tmp_path / "app", "kept")
    git(tmp_path / "app", "init")
    git(tmp_path / "app", "-c", "protocol.file.allow=always", "submodule", "add", "../other", "sub")
    assert packed(tmp_path / "app") == [".gitmodules", "kept", "sub/a"]
    git(tmp_path / "app", "submodule", "deinit", "-f", "sub")
    selection = Selection(tmp_path / "app")
    assert "sub/a" not in [name for name, _, _ in selection.entries()]
    assert [(item.path, item.rule) for item in selection.left_out] == [
        ("sub/", "submodule, not checked out")
    ]


def test_a_hostile_repository_runs_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a")
    git(tmp_path, "init")
    git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    make(tmp_path / ".git/hooks", "post-index-change")
    assert packed(tmp_path) == ["a"]


def test_git_itself_is_left_out_as_a_file_too(tmp_path: Path) -> None:
    make(tmp_path, ".git", ".gitattributes", ".github/ci.yml", ".env")
    assert packed(tmp_path) == [".env", ".gitattributes", ".github/ci.yml"]


def test_parents_come_first_and_the_order_is_its_own(tmp_path: Path) -> None:
    make(tmp_path, "b/z", "b/a/x", "a", "c/", "B")
    names = [name for name, _, _ in Selection(tmp_path).entries()]
    assert names == ["B", "a", "b", "c", "b/a", "b/z", "b/a/x"]


def test_gitignore_is_obeyed(tmp_path: Path) -> None:
    lines = "# comment\n*.log\n/only-here\ndocs/\n!keep.log\n\\#hash\n"
    make(tmp_path, "a.log", "keep.log", "a/b.log", gitignore=lines)
    make(tmp_path, "only-here", "a/only-here", "docs/x", "a/docs/y", "#hash", "a/docs.md")
    assert packed(tmp_path) == ["keep.log", "a/docs.md", "a/only-here"]


def test_a_nested_gitignore_holds_below_its_directory(tmp_path: Path) -> None:
    make(tmp_path, "a/x.txt", "a/b/x.txt", "a/y.txt", "x.txt", "a/b/y.txt", gitignore="y.txt\n")
    make(tmp_path / "a", gitignore="/x.txt\n!y.txt\n")
    make(tmp_path / "a" / "b", gitignore="y.txt\n")
    assert packed(tmp_path) == ["x.txt", "a/y.txt", "a/b/x.txt"]


def test_a_gitignore_in_an_ignored_directory_is_not_read(tmp_path: Path) -> None:
    make(tmp_path, "kept", "out/x", gitignore="out/\n")
    make(tmp_path / "out", gitignore="!x\n")
    assert packed(tmp_path) == ["kept"]


def test_the_dockerignore_decides_nothing(tmp_path: Path) -> None:
    make(tmp_path, "README.md", "tests/test_a.py", dockerignore="*.md\ntests\n")
    assert packed(tmp_path) == ["README.md", "tests/test_a.py"]


def test_a_negation_includes_what_a_tool_made(tmp_path: Path) -> None:
    make(tmp_path, "package.json", "node_modules/a/x", gitignore="!node_modules/\n")
    assert packed(tmp_path) == ["package.json", "node_modules/a/x"]


def test_git_never_looks_into_what_it_leaves_out(tmp_path: Path) -> None:
    make(tmp_path, "docs/README.md", "kept", gitignore="docs/\n!docs/README.md\n")
    assert packed(tmp_path) == ["kept"]


def test_a_line_that_is_not_a_pattern_matches_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", gitignore="!\n\\\na\\\n/\nb\n")
    assert packed(tmp_path) == ["a"]


def test_an_ignore_file_in_another_encoding_is_read_where_it_can_be(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\r\nb\r\n")
    assert packed(tmp_path) == ["a"]


def test_an_ignore_file_that_is_a_link_or_a_directory_is_not_read(tmp_path: Path) -> None:
    make(tmp_path, "a", "lines/")
    (tmp_path / "patterns").write_text("a\n")
    (tmp_path / ".gitignore").symlink_to("patterns")
    assert packed(tmp_path) == ["a", "patterns"]


def test_the_size_of_what_is_left_out_is_read_within_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revalid.jobs.projects.ignore._MAX_SIZED", 5)
    names = [f"{top}/{number}" for top in "abc" for number in range(4)]
    make(tmp_path, "kept", *names, gitignore="a/\nb/\nc/\n")
    selection = Selection(tmp_path)
    assert len(list(selection.entries())) == 2
    assert [item.size_bytes for item in selection.left_out] == [12, 12, 0]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a")
    (tmp_path / "link").symlink_to("real")
    assert packed(tmp_path) == ["link", "real/a"]


@pytest.mark.parametrize("name", [".gitignore", "a/.gitignore", "a/b/"])
def test_an_unreadable_path_is_named(name: str) -> None:
    with unprivileged() as root:
        make(root, "a/c", name)
        (root / name).chmod(0)
        try:
            with pytest.raises(
                InvalidProject, match=rf"{name.rstrip('/')}.*: Permission denied; make it readable"
            ):
                list(Selection(root).entries())
        finally:
            (root / name).chmod(0o700)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("a\n" * (MAX_RULES + 1), f"more than {MAX_RULES} lines"),
        ("a" * (MAX_LENGTH + 1), "is longer than"),
        ("# long\n" * 50_000, ".gitignore is larger than"),
    ],
)
def test_an_ignore_file_is_bounded(tmp_path: Path, text: str, refused: str) -> None:
    make(tmp_path, "a", gitignore=text)
    with pytest.raises(InvalidProject, match=refused):
        list(Selection(tmp_path).entries())


def test_ignore_files_that_hold_for_one_directory_are_bounded_together(tmp_path: Path) -> None:
    make(tmp_path / "a/b", "c", gitignore="x\n" * (MAX_RULES // 2))
    make(tmp_path / "a", gitignore="x\n" * (MAX_RULES // 2 + 1))
    with pytest.raises(InvalidProject, match=r"lines of ignore files apply to .*/a/b: remove some"):
        list(Selection(tmp_path).entries())


def test_an_ignore_line_of_stars_holds_nothing_up(tmp_path: Path) -> None:
    make(tmp_path, "a" * 200, "kept", gitignore="*a*a*a*a*a*a*a*a*b\n[z-a]\n**/a/**/a/**/b\n")
    assert packed(tmp_path) == ["a" * 200, "kept"]


DEEP = "/".join(["abcdeabcde"] * 80)


def test_many_lines_for_many_files_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"/x{'/*' * 50}/{number}\n" for number in range(900))
    make(tmp_path, *(f"{DEEP}/{number}" for number in range(300)), gitignore=lines)
    with pytest.raises(InvalidProject, match="too many or too long lines for so many files"):
        list(Selection(tmp_path).entries())


def test_long_ignore_files_in_many_directories_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"/{'x' * 1_000}{number}\n" for number in range(200))
    for number in range(100):
        make(tmp_path / str(number), "a", gitignore=lines)
    with pytest.raises(InvalidProject, match="too many or too long lines for so many files"):
        list(Selection(tmp_path).entries())
