"""Globs that projects, jobs and callers write, matched in time linear in the path.

A glob becomes a regular expression that never tries a star twice: for every star but the last of a
segment, and every ``**`` but the last, the shortest text is as good as any, so each is an atomic
group.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LENGTH = 1_024
"""Characters of one glob: no path of a project is longer."""
_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
_END = r"(?=/|\Z)"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an ignore file.

    Attributes:
        ignores: False where the line begins with ``!``.
    """

    pattern: re.Pattern[str]
    ignores: bool


class Rules:
    """Lines of an ignore file, as git reads them; those that git matches with nothing are dropped.

    Raises:
        ValueError: A line is longer than :data:`MAX_LENGTH`.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]

    def __len__(self) -> int:
        return len(self._rules)

    def verdict(self, path: str) -> bool | None:
        """Whether the last line that names ``path``, or a directory above it, ignores it.

        Args:
            path: Relative; that of a directory ends with a slash.

        Returns:
            None where no line names it.
        """
        for rule in reversed(self._rules):
            if rule.pattern.match(path):
                return rule.ignores
        return None


def directory_glob(glob: str) -> re.Pattern[str]:
    """Matches whole paths of directories; ``**`` is any depth, ``*`` one name.

    Raises:
        ValueError: It is longer than :data:`MAX_LENGTH`, or ends within a bracket or an escape.
    """
    _check_length(glob)
    segments = [part for part in glob.split("/") if part not in ("", ".")]
    return re.compile(_path(segments, directory=False, whole=True), re.DOTALL)


def covering(glob: str) -> re.Pattern[str]:
    """Matches a path or a directory above it; ``*`` is any text, slashes too.

    Raises:
        ValueError: As :func:`directory_glob`.
    """
    _check_length(glob)
    return re.compile(_segment(glob, "."), re.DOTALL)


def _check_length(glob: str) -> None:
    if len(glob) > MAX_LENGTH:
        raise ValueError(f"{glob[:40]!r}... is longer than {MAX_LENGTH} characters: shorten it")


def _rule(line: str) -> Rule | None:
    while line.endswith((" ", "\t", "\r")) and not line.endswith("\\ "):
        line = line[:-1]
    ignores = not line.startswith("!")
    glob = line if ignores else line[1:]
    if not glob or line.startswith("#"):
        return None
    _check_length(glob)
    directory = glob.endswith("/")
    glob = glob.removesuffix("/")
    anchored = "/" in glob
    segments = glob.removeprefix("/").split("/")
    if not all(segments):
        return None
    try:
        regex = _path(segments if anchored else ["**", *segments], directory=directory, whole=False)
    except ValueError:  # git matches it with nothing
        return None
    return Rule(re.compile(regex, re.DOTALL), ignores)


def _path(segments: Sequence[str], *, directory: bool, whole: bool) -> str:
    """The expression of a glob's segments.

    Args:
        directory: Match no file, but what is in a directory of the name.
        whole: Match no path below.
    """
    groups: list[list[str]] = [[]]
    for before, segment in zip(["", *segments], segments, strict=False):
        if segment != "**":
            groups[-1].append(_segment(segment, "[^/]"))
        elif before != "**":
            groups.append([])
    regex = "/".join(groups[0])
    for number, group in enumerate(groups[1:], 2):
        regex += "/" if regex and (group or not whole) else ""
        # Any depth, and then the first place where the group fits; only the last may move on.
        found = rf"(?:[^/]+/)*?{'/'.join(group)}"
        if group:
            regex += found if number == len(groups) else f"(?>{found})"
        elif whole:
            regex += r"(?:/.*)?" if regex else ".*"
        else:
            regex += "[^/]+" + _END
    if whole:
        return rf"{regex}\Z"
    return f"{regex}/" if directory else regex


def _segment(glob: str, letter: str) -> str:
    """The expression of a glob without ``**``; ``letter`` is what ``?`` matches, and ``*`` repeats.

    Raises:
        ValueError: It ends within a bracket or an escape.
    """
    pieces: list[list[str]] = [[]]
    at = 0
    while at < len(glob):
        start, at = glob[at], at + 1
        if start == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])
        elif start == "?":
            pieces[-1].append(letter)
        elif start == "[":
            bracket, at = _bracket(glob, at)
            pieces[-1].append(bracket if letter == "." else f"(?!/){bracket}")
        elif start == "\\":
            if at == len(glob):
                raise ValueError(f"{glob!r} ends with a backslash: write two for one")
            pieces[-1].append(re.escape(glob[at]))
            at += 1
        else:
            pieces[-1].append(re.escape(start))
    first, *others = ("".join(piece) for piece in pieces)
    if not others:
        return first + _END
    *middle, last = others
    stars = "".join(f"(?>{letter}*?{text})" for text in middle)
    return rf"(?={letter}){first}{stars}{letter}*{last}{_END}"


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """The expression of a bracket that is open at ``at``, and where it is over."""
    begin = at
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    items: list[str] = []
    first = True
    while first or glob[at : at + 1] != "]":
        first = False
        if at >= len(glob):
            raise ValueError(f"{glob!r} has a [ without its ]: write \\[ for the character itself")
        if glob.startswith("[:", at) and (end := glob.find(":]", at)) > 0:
            if (name := glob[at + 2 : end]) not in _CLASSES:
                raise ValueError(f"{glob!r}: there is no class {name[:40]!r}")
            items.append(_CLASSES[name])
            at = end + 2
            continue
        low, at = _letter(glob, at)
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in ("", "]"):
            high, at = _letter(glob, at + 1)
            items += [f"{re.escape(low)}-{re.escape(high)}"] if low <= high else []
        else:
            items.append(re.escape(low))
    assert at > begin, "a bracket holds something"  # noqa: S101
    if not items:
        return "." if negated else "(?!)", at + 1
    return f"[{'^' if negated else ''}{''.join(items)}]", at + 1


def _letter(glob: str, at: int) -> tuple[str, int]:
    at += glob[at] == "\\"
    if at >= len(glob):
        raise ValueError(f"{glob!r} ends within a bracket: close it with ]")
    return glob[at], at + 1
