"""Globs match the same paths as in git, in time that no pattern can inflate."""

import random
import re
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from revalid.jobs.globs import MAX_LENGTH, Rules, covering, directory_glob
from tests.growth import outgrows

LINES = [
    *("a", "/a", "a/", "/a/", "*", "*/", "/*", "a*", "*b", "a*b", "*a*", "?", "a?", "??", "[ab]"),
    *(
        "[!a]",
        "[^a]b",
        "[a-c]",
        "[]a]",
        "[]-]",
        "[[:alpha:]]",
        "[[:digit:]a]",
        "[z-a]",
        "[a",
        "a\\",
    ),
    *("\\a", "\\*", "\\#a", "\\!a", "#a", "!", "/", "//", "", " ", "a ", "a\\ ", " a", "a//b"),
    *("a/b", "a/*", "a/*/", "*/b", "a/b/", "a*/b", "**", "**/", "/**", "a/**", "**/a", "**/a/"),
    *("a/**/b", "a/**/", "**/a/**", "**/a/**/b", "a**", "**b", "a**b", "*/**", "**/*", "**/*/b"),
    *("a/**/b/**/c", "*/*/*", "a/?/c", "a[/]b", "**/**/b", "a/**/**", "a.b", "*.b"),
]
PATHS = [
    *("a", "b", "c", "ab", "abb", "ba", "aab", "a.b", "x.b", "*", "#a", "!a", "[a", "]", "-", "1"),
    *("a/b", "a/a", "b/a", "b/b", "a/b/c", "a/x/b", "a/x/y/b", "b/a/b", "a/b/x/c", "c/a/b/c"),
    *("x/a/y/b", "ab/b", "a ", " a", "a\\", "a/c", "a/1/c"),
]


def git(root: Path, *words: str, said: str = "") -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], input=said, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two repositories: in one the ends of the paths are files, in the other directories."""
    made = []
    for ends in ("files", "directories"):
        root = tmp_path_factory.mktemp(ends)
        git(root, "init", "-q")
        for path in sorted(PATHS, key=len, reverse=True):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if ends == "directories":
                (root / path).mkdir(exist_ok=True)
            elif not (root / path).exists():
                (root / path).touch()
        made.append(root)
    return made


@pytest.mark.parametrize("line", LINES)
def test_a_line_ignores_what_git_says(trees: list[Path], line: str) -> None:
    rules = Rules([line])
    for root in trees:
        (root / ".gitignore").write_text(f"{line}\n")
        said = git(root, "check-ignore", "--no-index", "-z", "--stdin", said="\0".join(PATHS))
        by_git = {path for path in said.split("\0") if path}
        ours = {path for path in PATHS if rules.verdict(path + "/" * (root / path).is_dir())}
        assert ours == by_git


def test_the_last_line_that_names_a_path_has_the_word() -> None:
    rules = Rules(["*.log", "!keep.log", "/keep.log"])
    assert [rules.verdict(path) for path in ("a.log", "b/keep.log", "keep.log", "c")] == [
        *(True, False, True, None)
    ]


@pytest.mark.parametrize("glob", ["[", "a[!b", "a\\", "[[:none:]]", "a" * (MAX_LENGTH + 1)])
def test_an_invalid_glob_is_refused(glob: str) -> None:
    for compiled in (directory_glob, covering):
        with pytest.raises(ValueError, match=r".") as refused:
            compiled(glob)
        assert len(str(refused.value)) < 2 * MAX_LENGTH


def random_globs(number: int) -> list[str]:
    """Hostile globs: many stars with little between them."""
    rng = random.Random(14)
    pieces = ("*", "**/", "a", "?", "[ab]", "*a", "**/a/", "*/", "a*", "[!b]")
    return ["".join(rng.choices(pieces, k=40)) + "c" for _ in range(number)]


HOSTILE = [
    *("*a" * 6, "*" * 13, "*a*" * 40 + "b", "**/a/" * 40 + "b", "**/*a*/" * 40 + "b"),
    *("*?" * 40 + "b", "[ab]*" * 40 + "c", "**/" * 300 + "b", "a/**/" * 40 + "*b", "*/" * 60 + "b"),
    *random_globs(20),
]


@pytest.mark.parametrize("glob", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_glob_takes_time_linear_in_the_path(glob: str) -> None:
    rules, whole, cover = Rules([glob]), directory_glob(glob), covering(glob)
    for path in ("a", "aa/", "ab"):

        def matched(size: int, path: str = path) -> Callable[[], object]:
            text = path * (size // len(path))
            return lambda: (rules.verdict(text), whole.match(text), cover.match(text))

        assert not outgrows(matched, 512, 8_192), path


@pytest.mark.parametrize("piece", ["*a", "**/a/", "?", "[a-c]", "\\a", "*"])
def test_a_glob_takes_work_linear_in_its_length(piece: str) -> None:
    lengths = [len(directory_glob(piece * number).pattern) for number in (25, 50, 100)]
    assert all(after < 2.5 * before for before, after in pairwise(lengths))


@pytest.mark.parametrize(
    ("glob", "path", "covered"),
    [
        ("vault", "vault/in/file", True),
        ("vault", "vault2", False),
        ("vault/*", "vault/in/file", True),
        ("*.ts", "a/b.ts", True),
        ("*.ts", "a/b.ts.bak", False),
        ("a*b*c", "axbxcxc/d", True),
        ("a\nb", "a\nb/c", True),
    ],
)
def test_a_glob_covers_a_path_and_everything_below(glob: str, path: str, covered: bool) -> None:
    assert bool(covering(glob).match(path)) is covered
    assert not re.search(r"\s$", glob)
