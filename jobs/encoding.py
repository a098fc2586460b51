"""Texts in JSON, the format of stored results and events: what they may hold, and their sizes."""

_SIX_BYTE_ESCAPES = bytes({*range(0x20)} - set(b"\b\t\n\f\r"))
"""Characters that JSON writes as an escape of six bytes."""
_TWO_BYTE_ESCAPES = b'\b\t\n\f\r"\\'


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode: a file name may have bytes that are no UTF-8."""
    return text.encode(errors="replace").decode()


def json_size(text: str) -> int:
    """Return the bytes that a text takes as JSON; a NUL takes six."""
    data = text.encode(errors="replace")
    six = len(data) - len(data.translate(None, _SIX_BYTE_ESCAPES))
    two = len(data) - len(data.translate(None, _TWO_BYTE_ESCAPES))
    return len(data) + 5 * six + two


def within(text: str, most: int) -> str:
    """Shorten a text to about ``most`` bytes of JSON; it keeps the start and the end.

    A line in between says how many characters were left out.
    """
    if len(text) * 6 <= most or json_size(text) <= most:
        return text
    head = text[: _fitting(text, most // 2)]
    tail = text[::-1][: _fitting(text[::-1], most // 2)][::-1]
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n[revalid: {left_out} characters left out]\n{tail}"


def _fitting(text: str, most: int) -> int:
    """Return how many characters from the start of a text fit into ``most`` bytes of JSON."""
    fits, too_many = 0, min(len(text), most) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if json_size(text[:middle]) <= most:
            fits = middle
        else:
            too_many = middle
    return fits
