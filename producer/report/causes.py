"""Groups failures by cause, so that a report of 300 failed projects shows five causes."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from revalid.producer.report.diagnosis import Diagnosis, diagnose
from revalid.producer.report.model import Cause, Row

_COMPARED = 50
"""Most groups of one check and code that a message is compared with."""
_WORDS = 60
"""Most words of a message that are compared; the work grows with their cube."""
_ALIKE, _ALIKE_WITH_CODE = 0.85, 0.6

_OWN = "…"
_FILE = r"(?:[mc]?[jt]sx?|pyi?|json|s?css|html|vue|svelte|toml|lock)"
_VARYING = (
    re.compile(r"^\S+?[(:]\d+(?:[,:]\d+)?\)?:?(?=\s)"),
    re.compile(r"(?<![\w+])[a-z][a-z+]*+://[^\s'\"`<>]+"),
    re.compile(
        r"\"[^\"]*\"|`[^`]*`|\u2018[^\u2018\u2019]*\u2019|\u201c[^\u201c\u201d]*\u201d|(?<!\w)'[^']*'(?!\w)"
    ),
    re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]"),
    re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]"),
    re.compile(r"(?<!\S)@?[\w./-]+@[^\s,;]+"),
    re.compile(r"(?<![^\s(])\w[\w.-]*(?:\[\w+\])?(?:[=<>~!]=|[<>])[^\s=,;]+"),
    re.compile(r"(?<![\w.@~+/\\-])(?:[A-Za-z]:)?[\w.@~+-]*+(?:[/\\]++[\w.@~+$-]++)++(?::\d+)*"),
    re.compile(rf"(?<![\w.-])[\w.-]+\.{_FILE}\b(?::\d+)*"),
    re.compile(r"(?<![\w$.])[\w$.]++(?= is not (?:defined|a function|a constructor|iterable))"),
    re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7,}\b"),
    re.compile(r"(?<![-~^<>=])[-~^<>=]*+\bv?\d[\w.%]*(?: (?:m?s|min|h|bytes|[KMG]i?B)\b)?"),
    re.compile(r"\b(?:undefined|null|true|false|NaN|None|True|False|Infinity)\b"),
)
"""Patterns of the parts that differ between equal failures, in the order of their removal."""
_RUN = re.compile(rf"{_OWN}(?:[\s,|&]*{_OWN})+")


class _Group:
    def __init__(self, diagnosis: Diagnosis, words: list[str]) -> None:
        self.check = diagnosis.check
        self.message = diagnosis.message
        self.words = words
        self.title = diagnosis.message.split(" ")
        self.projects: dict[str, None] = {}

    def add(self, diagnosis: Diagnosis, project: str) -> None:
        self.projects[project] = None
        if diagnosis.message == self.message:
            return
        words = diagnosis.message.split(" ")
        if len(words) != len(self.title):
            # Their words cannot be aligned, so the title keeps only what the shapes share.
            words = shape(diagnosis.message).split(" ")
            self.title = shape(" ".join(self.title)).split(" ")
        if len(words) == len(self.title):
            pairs = zip(self.title, words, strict=True)
            self.title = [a if a == b else _OWN for a, b in pairs]

    def cause(self) -> Cause:
        return Cause(
            title=_RUN.sub(_OWN, " ".join(self.title)),
            check=self.check,
            message=self.message,
            projects=tuple(self.projects),
            number=len(self.projects),
        )


def find_causes(rows: Iterable[Row]) -> tuple[Cause, ...]:
    """Return the causes of the failed rows, the most frequent first."""
    by_shape: dict[tuple[str, str, str], _Group] = {}
    by_code: dict[tuple[str, str], list[_Group]] = {}
    for row in rows:
        if not row.red:
            continue
        diagnosis = diagnose(row)
        key = (diagnosis.check, diagnosis.code, shape(diagnosis.message))
        if (group := by_shape.get(key)) is None:
            words = key[2].lower().replace(_OWN, " ").split()
            rivals = by_code.setdefault(key[:2], [])
            group = _nearest(words, rivals[:_COMPARED], diagnosis.code)
            if group is None:
                group = _Group(diagnosis, words)
                rivals.append(group)
            by_shape[key] = group
        group.add(diagnosis, row.project)
    groups = dict.fromkeys(by_shape.values())
    return tuple(sorted((g.cause() for g in groups), key=lambda cause: -cause.number))


def shape(message: str) -> str:
    """Return a message without the parts that differ between projects."""
    for pattern in _VARYING:
        message = pattern.sub(_OWN, message)
    return " ".join(_RUN.sub(_OWN, message).split())


def _nearest(words: list[str], groups: Iterable[_Group], code: str) -> _Group | None:
    """Return the first group with a similar message, or None."""
    # An exception's class says less than a compiler's code.
    named = code and not code.endswith(("Error", "Exception"))
    wanted = _ALIKE_WITH_CODE if named else _ALIKE
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(words[:_WORDS])
    for group in groups:
        matcher.set_seq1(group.words[:_WORDS])
        bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
        if all(bound() >= wanted for bound in bounds):
            return group
    return None
