"""Tries every regular expression of the code on hostile text.

The tests find the expressions in the source. An expression fails if it takes more than linear time.
A new one cannot be missed: a call of ``re`` whose expression is not found is an error too.
"""

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from revalid.producer.report.causes import find_causes, shape
from revalid.producer.report.junit import _valid
from revalid.producer.report.markdown import _code
from revalid.producer.sanitize import clean, one_line
from revalid.worker.run.output import to_text
from revalid.worker.sandboxes.protocol import Stream
from revalid.worker.secrets import Scrubber
from revalid.worker.strategies.node.typescript import read_tsconfig
from revalid.worker.strategies.node.workspaces import pnpm_globs
from revalid.worker.strategies.project_tree import ProjectTree
from tests.growth import cost, outgrows
from tests.producer.report.samples import failing

ROOT = Path(__file__).parents[1]
MADE_ELSEWHERE = {
    ("revalid.jobs.globs", "_rule"): "tests/jobs/test_globs.py",
    ("revalid.jobs.globs", "directory_glob"): "tests/jobs/test_globs.py",
    ("revalid.jobs.globs", "covering"): "tests/jobs/test_globs.py",
    ("revalid.producer.report.diagnosis", "_rule"): "in _RULES, found there",
    ("revalid.worker.run.install_faults", "_manager"): "in _MANAGERS, found there",
    ("revalid.worker.strategies.python.install", "_declares"): "a word of ours between two borders",
    ("revalid.worker.secrets", "__init__"): "tests/worker/test_secrets.py",
}
"""Calls with a computed expression: where it is tested, or why it needs no test."""
CALLS = {"compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
SIZE = 4_000


@dataclass(frozen=True)
class Use:
    """An expression, where it stands, and how it is used."""

    where: str
    pattern: re.Pattern[str]
    method: str

    def on(self, made: str) -> object:
        text: Any = made.encode() if isinstance(self.pattern.pattern, bytes) else made
        if self.method in ("sub", "subn"):
            return self.pattern.sub(text[:0], text)
        if self.method == "finditer":
            return list(self.pattern.finditer(text))
        return getattr(self.pattern, self.method)(text)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("jobs", "worker", "producer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            tree = ast.parse(path.read_text())
            yield ".".join(("revalid", *parts)).removesuffix(".__init__"), tree


def re_calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Calls of ``re``, each with the function that it stands in."""
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        inside, node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = node.name
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if name in CALLS:
                yield inside, node
        pending += [(inside, child) for child in ast.iter_child_nodes(node)]


def methods_of(tree: ast.Module, name: str) -> set[str]:
    """Return the methods that are called on a name."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=called), attr=method) if called == name:
                found.add(method)
    return found & CALLS


def patterns_in(value: Any) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from patterns_in(each)
    elif isinstance(value, dict):
        yield from patterns_in(list(value.values()))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from patterns_in([getattr(value, each.name) for each in fields(value)])


def kept_uses(name: str, tree: ast.Module, module: ModuleType) -> Iterator[Use]:
    """Expressions in the variables of a module."""
    for variable, value in vars(module).items():
        for pattern in patterns_in(value):
            methods = methods_of(tree, variable) or methods_of(tree, "pattern")
            if isinstance(value, re.Pattern) and not methods_of(tree, variable):
                methods = set()  # it is another module's, or used there
            for method in methods:
                yield Use(f"{name}.{variable} {pattern.pattern[:40]}", pattern, method)


def direct_uses(name: str, tree: ast.Module, module: ModuleType) -> Iterator[Use]:
    for inside, call in re_calls(tree):
        method = call.func.attr  # type: ignore[attr-defined]
        try:
            value = eval(ast.unparse(call.args[0]), vars(module))  # noqa: S307 - our own code
            flags = [ast.unparse(k.value) for k in call.keywords if k.arg == "flags"]
            text = ast.unparse(call)
            for flag in ("re.MULTILINE", "re.M", "re.DOTALL", "re.IGNORECASE"):
                flags += [flag] if re.search(rf"{re.escape(flag)}\b", text) else []
            pattern = re.compile(value, eval("|".join(flags) or "0", vars(module)))  # noqa: S307
        except NameError:
            assert (name, inside) in MADE_ELSEWHERE, f"{name}.{inside}: name it in the module"
            continue
        if method == "compile":
            if not inside:
                continue  # in a variable of the module
            raise AssertionError(f"{name}.{inside} compiles at each call: name it in the module")
        yield Use(f"{name}.{inside} {pattern.pattern[:40]}", pattern, method)


def uses() -> list[Use]:
    found: dict[tuple[str, str], Use] = {}
    trees = dict(modules())
    imported = {}
    for name, tree in trees.items():
        if any(True for _ in re_calls(tree)):
            imported[name] = importlib.import_module(name)
    for name, module in imported.items():
        for use in (*kept_uses(name, trees[name], module), *direct_uses(name, trees[name], module)):
            found[use.pattern.pattern, use.method] = use
    # Used in another module than their own.
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module not in imported:
                continue
            for alias in node.names:
                pattern = getattr(imported[node.module], alias.name, None)
                if isinstance(pattern, re.Pattern):
                    for method in methods_of(tree, alias.name):
                        use = Use(f"{name}.{alias.name}", pattern, method)
                        found[pattern.pattern, method] = use
    return sorted(found.values(), key=lambda use: use.where)


USES = uses()


def samples(tree: Any) -> str:
    """A text that the expression, or most of it, matches."""
    text = ""
    for kind, value in tree:
        match str(kind):
            case "LITERAL":
                text += chr(value)
            case "NOT_LITERAL" | "ANY":
                text += "x"
            case "IN":
                text += letter(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                text += samples(value[2]) * max(1, value[0])
            case "SUBPATTERN":
                text += samples(value[3])
            case "ATOMIC_GROUP":
                text += samples(value)
            case "BRANCH":
                text += samples(value[1][0])
    return text


def letter(items: Any) -> str:
    for kind, value in items:
        match str(kind):
            case "NEGATE":
                return "x"
            case "LITERAL":
                return chr(value)
            case "RANGE":
                return chr(value[0])
            case "CATEGORY":
                return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " "}.get(str(value), "x")
    return "x"


def atoms(tree: Any) -> set[str]:
    """Return the letters that occur in the expression."""
    found: set[str] = set()
    for kind, value in tree:
        match str(kind):
            case "LITERAL" | "NOT_LITERAL":
                found.add(chr(value))
            case "IN":
                found |= {letter([item]) for item in value if str(item[0]) != "NEGATE"}
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                found |= atoms(value[2])
            case "SUBPATTERN":
                found |= atoms(value[3])
            case "ATOMIC_GROUP":
                found |= atoms(value)
            case "ASSERT" | "ASSERT_NOT":
                found |= atoms(value[1])
            case "BRANCH":
                for branch in value[1]:
                    found |= atoms(branch)
    return found


def hostile(pattern: re.Pattern[str]) -> Iterator[tuple[str, str, str]]:
    """Return hostile texts from the expression's own parts: its start, repetitions and end."""
    tree = re._parser.parse(pattern.pattern, pattern.flags)  # type: ignore[attr-defined]
    sample = samples(tree)[:80]
    marks = sorted(a for a in atoms(tree) if not a.isalnum())[:10]
    letters = ["x", "1", "a", " ", "\n", *marks]
    for piece in filter(None, (*letters, sample, sample[:-1])):
        for before in ("", sample):
            for after in ("", "\n", "!"):
                yield before, piece, after
    for end in range(3, len(sample), 4):
        yield "", sample[:end], ""
    for one in letters:
        for other in letters:
            yield "", one + other, ""
        yield "", sample + one, ""
        yield sample, sample[:-1] + one, ""
        for at in range(1, len(sample)):
            yield sample[:at], one, sample[at:]
            yield sample[:at], one, ""


def test_the_expressions_are_found() -> None:
    assert len(USES) > 80
    assert {use.method for use in USES} >= {"search", "match", "sub", "findall"}


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.where} {use.method}")
def test_an_expression_takes_time_linear_in_the_text(use: Use) -> None:
    for text in hostile(use.pattern):

        def work(size: int, text: tuple[str, str, str] = text) -> Callable[[], object]:
            before, piece, after = text
            made = before + piece * (size // len(piece)) + after
            return lambda: use.on(made)

        # Where so much text costs less than this, its growth is not worth a look.
        if cost(work(SIZE), tries=1) > 0.002:
            assert not outgrows(work, 500, 4 * SIZE), text


class Text(ProjectTree):
    """A project whose every file holds one text."""

    def __init__(self, text: str) -> None:
        self._said = text

    def text(self, path: str) -> str:
        return self._said


PARSERS: dict[str, Callable[[str], object]] = {
    "clean": clean,
    "one_line": one_line,
    "shape": shape,
    "causes": lambda text: find_causes([failing("a", "build", text)]),
    "markdown": _code,
    "junit": _valid,
    "tsconfig": lambda text: read_tsconfig(Text(text), "tsconfig.json"),
    "pnpm-workspace": pnpm_globs,
    "output": lambda text: to_text(Stream(text.encode(), b"", len(text)), Scrubber(())),
}
PIECES = [
    *(" ", "a", "1", "\n", "\0", "\x1b", "\x1b[", "\x1b]", "\x9b", "\r", '"', "`", "'", "\\"),
    *(
        "/",
        "/*",
        "//",
        ",",
        ", ",
        "[",
        "{",
        "- ",
        "packages:\n- a\n",
        "a.",
        "a/",
        "…",
        "… ",
        "\u2018",
    ),
    *(
        "  3:4  error  a  b  ",
        "npm error code E1\n",
        "error: ",
        ": error: a  [",
        "a is not exported by",
    ),
    *(
        "Expected values to be ",
        "ERR_PNPM_",
        "npm error path a\n",
        "\u2028",
        "\u202e",
        "@",
        "<",
        "a>",
    ),
]


@pytest.mark.parametrize("parser", PARSERS)
def test_a_parser_takes_time_linear_in_the_text(parser: str) -> None:
    for piece in PIECES:
        for before in ("", "  3:4  error  a", "npm error code E1\n", "error: ", "packages:"):

            def work(size: int, b: str = before, p: str = piece) -> Callable[[], object]:
                text = b + p * (size // len(p))
                return lambda: PARSERS[parser](text)

            if cost(work(SIZE), tries=1) > 0.004:
                assert not outgrows(work, 1_000, 8 * SIZE), (before, piece)
