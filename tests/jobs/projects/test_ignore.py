"""Which files of a directory are packed: defaults, .gitignore and .dockerignore."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import MAX_LENGTH
from revalid.jobs.projects.ignore import LEFT_OUT, MAX_RULES, included
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
        for name, _, status in included(root)
        if not stat.S_ISDIR(status.st_mode) and not name.endswith("ignore")
    ]


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_a_default_is_left_out_wherever_it_is(tmp_path: Path, pattern: str) -> None:
    name = pattern.replace("*", "any")
    inner = f"{name}in/it" if name.endswith("/") else name
    make(tmp_path, "kept", inner, f"a/b/{inner}")
    assert packed(tmp_path) == ["kept"]


@pytest.mark.parametrize("pattern", [line for line in LEFT_OUT if line.endswith("/")])
def test_a_file_with_a_directorys_name_is_kept(tmp_path: Path, pattern: str) -> None:
    name = pattern.replace("*", "any").rstrip("/")
    make(tmp_path, name)
    assert packed(tmp_path) == [name]


def test_git_itself_is_left_out_as_a_file_too(tmp_path: Path) -> None:
    make(tmp_path, ".git", ".gitattributes", ".github/ci.yml", ".env")
    assert packed(tmp_path) == [".env", ".gitattributes", ".github/ci.yml"]


def test_parents_come_first_and_the_order_is_its_own(tmp_path: Path) -> None:
    make(tmp_path, "b/z", "b/a/x", "a", "c/", "B")
    names = [name for name, _, _ in included(tmp_path)]
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


def test_dockerignore_starts_each_pattern_at_the_root(tmp_path: Path) -> None:
    lines = "# comment\nx.txt\n  /y.txt  \n**/z.txt\ndocs\na/*.md\n\n"
    make(tmp_path, "x.txt", "y.txt", "z.txt", "docs/x", "a.md", dockerignore=lines)
    make(tmp_path, "a/x.txt", "a/y.txt", "a/z.txt", "a/docs/x", "a/b.md", "a/b/c.md")
    assert packed(tmp_path) == ["a.md", "a/x.txt", "a/y.txt", "a/b/c.md", "a/docs/x"]


def test_the_dockerignore_has_the_last_word(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt", gitignore="a.txt\n!b.txt\n", dockerignore="b.txt\n!a.txt\n")
    assert packed(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("line", ["!dist", "!dist/", "!/dist/"])
@pytest.mark.parametrize("file", ["gitignore", "dockerignore"])
def test_a_negation_includes_a_default_again(tmp_path: Path, file: str, line: str) -> None:
    make(tmp_path, "dist/app.js", "build/app.js", **{file: f"{line}\n"})
    assert packed(tmp_path) == ["dist/app.js"]


def test_a_nested_negation_includes_a_default_again_there(tmp_path: Path) -> None:
    make(tmp_path, "a/dist/x", "dist/x")
    make(tmp_path / "a", gitignore="!dist/\n")
    assert packed(tmp_path) == ["a/dist/x"]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("*\n!src\n!package.json\n", ["package.json", "src/a.py", "src/b/c.py"]),
        ("*\n!src/**\n", ["src/a.py", "src/b/c.py"]),
        ("*\n!src/a.py\n", ["src/a.py"]),
        ("*\n!src/*/c.py\n", ["src/b/c.py"]),
        ("*\n!*/b/**\n", ["lib/b/c.py", "src/b/c.py"]),
        ("*\n!**/c.py\n", ["lib/b/c.py", "src/b/c.py"]),
        ("src\n!src/b\n", ["package.json", "lib/b/c.py", "src/b/c.py"]),
        ("*\n!srcs/a.py\n!src/a.pyc\n", []),
    ],
)
def test_a_dockerignore_may_list_the_files_to_keep(
    tmp_path: Path, lines: str, names: list[str]
) -> None:
    make(tmp_path, "package.json", "src/a.py", "src/b/c.py", "lib/b/c.py", dockerignore=lines)
    assert packed(tmp_path) == names


def test_a_pattern_that_keeps_files_does_not_include_a_default(tmp_path: Path) -> None:
    lines = "**/*.md\nnode_modules\n!**/README.md\n"
    make(tmp_path, "README.md", "a.md", "node_modules/a/README.md", dockerignore=lines)
    assert packed(tmp_path) == ["README.md"]


def test_git_never_looks_into_what_it_leaves_out(tmp_path: Path) -> None:
    make(tmp_path, "docs/README.md", "kept", gitignore="docs/\n!docs/README.md\n")
    assert packed(tmp_path) == ["kept"]


@pytest.mark.parametrize("file", ["gitignore", "dockerignore"])
def test_a_line_that_is_not_a_pattern_matches_nothing(tmp_path: Path, file: str) -> None:
    make(tmp_path, "a", "b", **{file: "!\n\\\na\\\n/\nb\n"})
    assert packed(tmp_path) == ["a"]


def test_an_ignore_file_in_another_encoding_is_read_where_it_can_be(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\r\nb\r\n")
    assert packed(tmp_path) == ["a"]


def test_an_ignore_file_that_is_a_link_or_a_directory_is_not_read(tmp_path: Path) -> None:
    make(tmp_path, "a", "lines/")
    (tmp_path / "patterns").write_text("a\n")
    (tmp_path / ".gitignore").symlink_to("patterns")
    (tmp_path / ".dockerignore").mkdir()
    assert packed(tmp_path) == ["a", "patterns"]


def test_ignored_directories_are_not_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["node_modules", ".git", "dist", "a/node_modules", "logs"]
    make(tmp_path, "kept", "a/kept", *(f"{name}/deep/file" for name in out), gitignore="logs/")
    looked_at: list[str] = []
    real = os.scandir

    def scandir(path: Path) -> Any:
        looked_at.append(str(path.relative_to(tmp_path)))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert packed(tmp_path) == ["kept", "a/kept"]
    assert looked_at == [".", "a"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a")
    (tmp_path / "link").symlink_to("real")
    assert packed(tmp_path) == ["link", "real/a"]


@pytest.mark.parametrize("name", [".gitignore", ".dockerignore", "a/.gitignore", "a/b/"])
def test_an_unreadable_path_is_named(name: str) -> None:
    with unprivileged() as root:
        make(root, "a/c", name)
        (root / name).chmod(0)
        try:
            with pytest.raises(
                InvalidProject, match=rf"{name.rstrip('/')}.*: Permission denied; make it readable"
            ):
                list(included(root))
        finally:
            (root / name).chmod(0o700)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("a\n" * MAX_RULES, f"more than {MAX_RULES} lines"),
        ("a" * (MAX_LENGTH + 1), "is longer than"),
        ("# long\n" * 50_000, ".gitignore is larger than"),
    ],
)
def test_an_ignore_file_is_bounded(tmp_path: Path, text: str, refused: str) -> None:
    make(tmp_path, "a", gitignore=text)
    with pytest.raises(InvalidProject, match=refused):
        list(included(tmp_path))


def test_ignore_files_that_hold_for_one_directory_are_bounded_together(tmp_path: Path) -> None:
    make(tmp_path / "a/b", "c", gitignore="x\n" * (MAX_RULES // 2))
    make(tmp_path / "a", gitignore="x\n" * (MAX_RULES // 2))
    with pytest.raises(InvalidProject, match=r"lines of ignore files apply to .*/a/b: remove some"):
        list(included(tmp_path))


def test_an_ignore_line_of_stars_holds_nothing_up(tmp_path: Path) -> None:
    make(tmp_path, "a" * 200, "kept", gitignore="*a*a*a*a*a*a*a*a*b\n[z-a]\n**/a/**/a/**/b\n")
    assert packed(tmp_path) == ["a" * 200, "kept"]


DEEP = "/".join(["abcdeabcde"] * 80)


def test_many_lines_for_many_files_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"/x{'/*' * 50}/{number}\n" for number in range(900))
    make(tmp_path, *(f"{DEEP}/{number}" for number in range(300)), gitignore=lines)
    with pytest.raises(InvalidProject, match="too many or too long lines for so many files"):
        list(included(tmp_path))


def test_long_ignore_files_in_many_directories_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"/{'x' * 1_000}{number}\n" for number in range(200))
    for number in range(100):
        make(tmp_path / str(number), "a", gitignore=lines)
    with pytest.raises(InvalidProject, match="too many or too long lines for so many files"):
        list(included(tmp_path))
