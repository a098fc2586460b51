"""Reads what a script of ``package.json`` does, through the scripts that it calls."""

import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

MAX_CALLED = 20
"""Scripts that are followed from one."""
_MAX_LENGTH = 4_000
_MAX_DEPTH = 5

_NO_TEST = re.compile(r"echo\W+Error: no test specified\W+exit 1")
_WATCHES = re.compile(
    r"(?:^|\s)--watch(?:-?all)?(?![\w-]|[=\s]false)|\bvitest (?:watch|dev)\b|\btsx watch\b"
    r"|\bnodemon\b|\b(?:mocha|vitest|ava|tsc)\b[^&|;]{0,200} -w(?=\s|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_BROWSER = re.compile(
    r"\b(?:ng test|karma start|playwright test|cypress run|wdio run|testcafe|nightwatch)\b"
)
_OPERATOR = re.compile(r"[();<>|&]+\Z")
_ASSIGNMENT = re.compile(r"\w{1,80}=")
_WRAPPERS = frozenset({"env", "command", "exec", "time", "cross-env", "if", "then", "else", "!"})
_SILENT = frozenset(
    word
    for words in (
        "true : echo printf pwd date cd sleep mkdir rm rimraf touch whoami ls set export unset fi",
    )
    for word in words.split()
)
"""Commands that show nothing of a project."""
_SHELLS = ("sh", "bash", "dash", "ash")
_MANAGERS = ("npm", "pnpm", "yarn", "bun")
_VERSION = frozenset({"-v", "-V", "--version", "-h", "--help"})
_ELSEWHERE = re.compile(
    r"(?:-w|-ws|-r|-F|-C|--workspaces?|--recursive|--filter|--prefix|--dir|--cwd)(?:=|\Z)"
)
_LISTS = {
    "vitest": {"list"},
    "jest": {"--listTests", "--showConfig"},
    "mocha": {"--dry-run", "--list-files", "--list-reporters"},
    "playwright": {"--list"},
    "pytest": {"--collect-only", "--co"},
}
"""Words with which a runner lists tests, or what it would do, and runs none."""
_STATEMENT = re.compile(
    r"(?:\d{1,9}|\"\w*\"|'\w*'|process\.exit\(0?\)"
    r"|console\.(?:log|info)\((?:\"[^\"]*\"|'[^']*'|`[^`$]*`|\d{1,9})?\))?"
)
_TYPE_CHECKERS = frozenset({"tsc", "tsgo", "vue-tsc", "svelte-check"})
_PARTLY = frozenset({"astro check", "nuxt typecheck", "nuxi typecheck", "svelte-kit sync"})
"""Commands of tools that do other things too."""
_LINTERS = frozenset(
    {"eslint", "standard", "xo", "prettier", "biome", "oxlint", "tslint", "stylelint", "knip"}
)
_TYPE_NAMES = frozenset({"check", "types", "ts", "check:ts", "test:types", "test:ts", "type"})
_NOT_CHECKS = re.compile(r"(?:pre|post)|(?:build|dev|watch|start|compile|release|publish)(?:\W|\Z)")

Scripts = Mapping[str, str]


def does_nothing(command: str, scripts: Scripts | None = None, depth: int = 0) -> bool:
    """Return whether a command shows nothing of a project: it prints, waits or exits with 0.

    Args:
        scripts: The scripts of the package, which the command may call.
    """
    if _NO_TEST.search(command):
        return True
    commands = split_commands(command)
    if commands is None or depth > _MAX_DEPTH:
        return False
    return all(_does_nothing(words, scripts or {}, depth) for words in commands)


def watches(command: str) -> bool:
    """Return whether a command waits for changes, and so never ends."""
    return _WATCHES.search(command) is not None


def needs_browser(command: str) -> bool:
    """Return whether a command runs tests in a browser."""
    return _BROWSER.search(command) is not None


def runs_no_tests(command: str) -> bool:
    """Return whether a command only checks style and types."""
    commands = split_commands(command)
    if not commands:
        return False
    return all(
        _does_nothing(words, {}, 0) or (words and words[0] in _LINTERS | _TYPE_CHECKERS)
        for words in map(without_runner, commands)
    )


def checks_types(name: str, command: str) -> bool:
    """Return whether a script only checks types."""
    commands = split_commands(command)
    if not commands or _NOT_CHECKS.match(name) or watches(command):
        return False
    words = [without_runner(words) for words in commands]
    if not all(w and (w[0] in _TYPE_CHECKERS or " ".join(w[:2]) in _PARTLY) for w in words):
        return False
    return name in _TYPE_NAMES or "--noEmit" in command or words[-1][0] not in ("tsc", "tsgo")


def with_called(command: str, scripts: Scripts) -> str:
    """Return a command with the commands of the scripts that it calls, one a line."""
    texts, pending, seen = [command], [command], set[str]()
    while pending:
        for words in split_commands(pending.pop()) or ():
            for name in _called(words, scripts):
                if name in scripts and name not in seen and len(seen) < MAX_CALLED:
                    seen.add(name)
                    texts.append(scripts[name])
                    pending.append(scripts[name])
    return "\n".join(texts)


def split_commands(command: str) -> list[list[str]] | None:
    """Return the words of each command of a shell line; None where a shell must read it."""
    if len(command) > _MAX_LENGTH:
        return None
    lexer = shlex.shlex(command.replace("\n", ";"), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    commands: list[list[str]] = [[]]
    to_file = False
    try:
        for word in lexer:
            if _OPERATOR.match(word) is None:
                if not to_file:
                    commands[-1].append(word)
                to_file = False
            elif "<" in word or ">" in word:
                to_file = not word.endswith("&")
            else:
                commands.append([])
    except ValueError:
        return None
    return [words for words in commands if words]


def without_runner(words: list[str]) -> list[str]:
    """Return a command without the assignments and the programs that only start it."""
    while words:
        if _ASSIGNMENT.match(words[0]) or words[0] in _WRAPPERS or words[0] in ("npx", "bunx"):
            words = words[1:]
        elif words[0] in _MANAGERS and words[1:2] in (["exec"], ["x"], ["dlx"]):
            words = words[2:]
        elif words[0] in ("yarn", "pnpm") and words[1:2] and words[1] in _TYPE_CHECKERS:
            words = words[1:]
        else:
            break
    return words


def _does_nothing(words: list[str], scripts: Scripts, depth: int) -> bool:
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _WRAPPERS):
        words = words[1:]
    if not words:
        return True
    name, arguments = words[0].rpartition("/")[2], words[1:]
    if any("$(" in word or "`" in word or word.endswith("$") for word in arguments):
        return False
    if name in _SILENT or (name == "exit" and arguments in ([], ["0"])):
        return True
    if name in _SHELLS and arguments[:1] == ["-c"]:
        return does_nothing(" ".join(arguments[1:2]), scripts, depth + 1)
    if name in ("node", *_MANAGERS) and arguments and set(arguments) <= _VERSION:
        return True
    runner = without_runner(words)
    if runner and set(runner[1:]) & _LISTS.get(runner[0], set()):
        return True
    if name == "node":
        codes = _codes(arguments)
        return codes is not None and all(map(_STATEMENT.fullmatch, codes))
    called = list(_called(words, scripts))
    return bool(called) and all(
        does_nothing(scripts[name], scripts, depth + 1)
        if name in scripts
        else "--if-present" in arguments
        for name in called
    )


def _codes(arguments: list[str]) -> list[str] | None:
    """Return the statements of ``node -e``; None where node runs something else."""
    if not arguments or arguments[0] not in ("-e", "-p", "-pe", "--eval", "--print"):
        return None
    return [statement.strip() for statement in " ".join(arguments[1:2]).split(";")]


def _called(words: list[str], scripts: Scripts) -> Iterator[str]:
    """Yield the names of the scripts of the same package that a command calls."""
    words = without_runner(words)
    if not words or any(_ELSEWHERE.match(word) for word in words[1:]):
        return
    names = [word for word in words[1:] if not word.startswith("-")]
    match words[0]:
        case "npm" | "pnpm" | "yarn" | "bun":
            if names[:1] in (["run"], ["run-script"]):
                yield from names[1:2]
            elif names and (words[0] in ("yarn", "pnpm") or names[0] in ("test", "t", "start")):
                name = "test" if names[0] == "t" else names[0]
                if words[0] != "bun" and (name in scripts or words[0] == "npm"):
                    yield name
        case "run-s" | "run-p" | "npm-run-all" | "npm-run-all2":
            for pattern in names:
                yield from _matching(pattern, scripts)
        case "concurrently":
            for command in names:
                if command.startswith("npm:"):
                    yield from _matching(command[4:], scripts)
                else:
                    for inner in split_commands(command) or ():
                        if inner[:1] != ["concurrently"]:
                            yield from _called(inner, scripts)


def _matching(pattern: str, scripts: Scripts) -> list[str]:
    if "*" not in pattern:
        return [pattern]
    return [name for name in scripts if fnmatchcase(name, pattern[:80])]
