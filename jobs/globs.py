"""Globs from projects, jobs and callers, matched in time linear in the length of the path.

A glob becomes a regular expression without backtracking. The shortest match is correct for every
star but the last of a segment, and for every ``**`` but the last: each of them is an atomic group.

Many globs that meet many paths are still much work. :class:`Work` bounds their product.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LENGTH = 1_024
"""Most characters of one glob; no path of a project is longer."""
MAX_WORK = 2 * 10**9
"""Units of work that globs may make; a unit takes at most about ten nanoseconds."""
_PATH_UNITS = 16
_COMPILE_UNITS = 600
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


class TooMuchWork(ValueError):
    """So many globs met so many paths that comparing them would take too long."""


class Work:
    """The work that globs may still make; what globs cost is known before they are compared."""

    def __init__(self, units: int = MAX_WORK) -> None:
        self._left = units

    def compile(self, characters: int) -> None:
        """Count the compilation of globs with so many characters.

        Raises:
            TooMuchWork: The bound is reached.
        """
        self._spend(characters * _COMPILE_UNITS)

    def compare(self, path: str, weight: int) -> None:
        """Count the comparison of a path with globs of a :func:`weight` together.

        Raises:
            TooMuchWork: The bound is reached.
        """
        self._spend((len(path) + _PATH_UNITS) * weight)

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise TooMuchWork("too many or too long globs for so many paths: use fewer")


def weight(glob: str) -> int:
    """Return how often comparing a glob may read the same character of a path."""
    return glob.count("/") + 1


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an ignore file.

    Attributes:
        line: The line as it stands there.
        ignores: False if the line begins with ``!``.
    """

    line: str
    pattern: re.Pattern[str]
    ignores: bool


class Rules:
    """The rules of an ignore file, as git reads them; lines that can match nothing are dropped.

    Attributes:
        weight: The :func:`weight` of all rules together.
        characters: The length of all rules together.

    Raises:
        ValueError: A line is longer than :data:`MAX_LENGTH`.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[Rule] = []
        self.weight = self.characters = 0
        for line in lines:
            if (rule := _rule(line)) is not None:
                self._rules.append(rule)
                self.weight += weight(line) + 1
                self.characters += len(line)

    def __len__(self) -> int:
        return len(self._rules)

    def verdict(self, path: str) -> bool | None:
        """Return whether a path is ignored; None if no rule matches it.

        Args:
            path: A relative path; a directory ends with a slash.
        """
        rule = self.last_match(path)
        return None if rule is None else rule.ignores

    def last_match(self, path: str) -> Rule | None:
        """Return the last rule that matches a path or a parent: it decides. None if none does.

        Args:
            path: A relative path; a directory ends with a slash.
        """
        return next((rule for rule in reversed(self._rules) if rule.pattern.match(path)), None)


def directory_glob(glob: str) -> re.Pattern[str]:
    """Compile a glob that matches whole paths; ``**`` is any depth, ``*`` is within one name.

    Raises:
        ValueError: The glob is too long, or ends within a bracket or an escape.
    """
    _check_length(glob)
    segments = [part for part in glob.split("/") if part not in ("", ".")]
    return re.compile(_path(segments, directory=False, whole=True), re.DOTALL)


def covering(glob: str) -> re.Pattern[str]:
    """Compile a glob that matches a path or a directory above it; ``*`` matches slashes too.

    Raises:
        ValueError: As :func:`directory_glob`.
    """
    _check_length(glob)
    return re.compile(_segment(glob, "."), re.DOTALL)


def _check_length(glob: str) -> None:
    if len(glob) > MAX_LENGTH:
        raise ValueError(f"{glob[:40]!r}... is longer than {MAX_LENGTH} characters: shorten it")


def _rule(text: str) -> Rule | None:
    line = text
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
    return Rule(text.strip(), re.compile(regex, re.DOTALL), ignores)


def _path(segments: Sequence[str], *, directory: bool, whole: bool) -> str:
    """Build the regular expression of a glob's segments.

    Args:
        directory: Match the content of a directory of that name, and not a file.
        whole: Match the whole path, and no path below it.
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
        # Any depth, then the first place where the group matches; only the last may backtrack.
        anywhere = rf"(?:[^/]+/)*?{'/'.join(group)}"
        if group:
            regex += anywhere if number == len(groups) else f"(?>{anywhere})"
        elif whole:
            regex += r"(?:/.*)?" if regex else ".*"
        else:
            regex += "[^/]+" + _END
    if whole:
        return rf"{regex}\Z"
    return f"{regex}/" if directory else regex


def _segment(glob: str, any_char: str) -> str:
    """Build the regular expression of a glob without ``**``; ``any_char`` is that of ``?``.

    Raises:
        ValueError: The glob ends within a bracket or an escape.
    """
    pieces: list[list[str]] = [[]]
    at = 0
    while at < len(glob):
        start, at = glob[at], at + 1
        if start == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])
        elif start == "?":
            pieces[-1].append(any_char)
        elif start == "[":
            bracket, at = _bracket(glob, at)
            pieces[-1].append(bracket if any_char == "." else f"(?!/){bracket}")
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
    stars = "".join(f"(?>{any_char}*?{text})" for text in middle)
    return rf"(?={any_char}){first}{stars}{any_char}*{last}{_END}"


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """Build the expression of the bracket that opens before ``at``; return it and its end."""
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
        low, at = _bracket_char(glob, at)
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in ("", "]"):
            high, at = _bracket_char(glob, at + 1)
            items += [f"{re.escape(low)}-{re.escape(high)}"] if low <= high else []
        else:
            items.append(re.escape(low))
    assert at > begin, "a bracket is never empty"  # noqa: S101
    if not items:
        return "." if negated else "(?!)", at + 1
    return f"[{'^' if negated else ''}{''.join(items)}]", at + 1


def _bracket_char(glob: str, at: int) -> tuple[str, int]:
    at += glob[at] == "\\"
    if at >= len(glob):
        raise ValueError(f"{glob!r} ends within a bracket: close it with ]")
    return glob[at], at + 1
