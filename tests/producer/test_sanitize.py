"""Text of projects and workers, made safe to print."""

import json
import re
import sys
import unicodedata

import pytest

from revalid.producer.sanitize import clean, one_line, seconds, visible_json


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext — ünïcode", "plain\ttext — ünïcode"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[Hcleared\x1bc", "cleared"),
        ("\x9b31mC1", "C1"),
        ("10%\r50%\r100%\nnext", "100%\nnext"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("bell\x07 back\x08 del\x7f", "bell back del"),
        ("user\u202enimda", "usernimda"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
    ],
)
def test_text_of_a_project_cannot_control_the_terminal(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_one_line_is_one() -> None:
    assert one_line("a\n  b\r\nc\x1b[0m") == "a b c"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (65, "1 min 05 s"),
        (119.7, "2 min 00 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_are_formatted_for_people(value: float, shown: str) -> None:
    assert seconds(value) == shown


HIDDEN = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp", "Cs")
    or unicodedata.bidirectional(chr(code)) in ("LRE", "RLE", "PDF", "LRO", "RLO")
    or unicodedata.bidirectional(chr(code)) in ("LRI", "RLI", "FSI", "PDI")
    or unicodedata.name(chr(code), "").startswith(("ZERO WIDTH", "TAG ", "LEFT-TO-RIGHT MARK"))
    or unicodedata.name(chr(code), "") in ("RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK")
    or unicodedata.name(chr(code), "").startswith(
        ("VARIATION SELECTOR", "MONGOLIAN FREE VARIATION")
    )
    or unicodedata.name(chr(code), "").startswith(("COMBINING GRAPHEME JOINER", "SHORTHAND FORMAT"))
    or re.match("HANGUL .*FILLER|KHMER VOWEL INHERENT", unicodedata.name(chr(code), ""))
]


def test_invisible_characters_are_removed() -> None:
    begin_more = "\x1b\x90\x9b\x9d"
    alone = [letter for letter in HIDDEN if letter not in f"\t\n\r{begin_more}"]
    assert [letter for letter in alone if clean(f"a{letter}b") != "ab"] == []
    assert one_line("a".join(HIDDEN).replace("\x1b", "")).isprintable()


def test_json_escapes_invisible_characters() -> None:
    said = {"text": "a".join(HIDDEN), "seen": "grüße 😀"}
    document = visible_json(json.dumps(said, ensure_ascii=False))
    assert json.loads(document) == said
    assert "grüße 😀" in document
    assert document.isprintable()
