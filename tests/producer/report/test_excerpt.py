"""The ends of a text."""

import pytest

from revalid.producer.report.excerpt import excerpt


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("", 8, ("", 0)),
        ("12345678", 8, ("12345678", 0)),
        ("123456789", 8, ("12\n[…]\n456789", 1)),
        ("abc", 1, ("\n[…]\nc", 2)),
    ],
)
def test_the_ends_of_a_text_are_kept(text: str, limit: int, kept: tuple[str, int]) -> None:
    assert excerpt(text, limit) == kept
