"""How large a text is once it is JSON, in which results and events are kept."""

_SIX = bytes({*range(0x20)} - set(b"\b\t\n\f\r"))
"""Written as an escape of six bytes."""
_TWO = b'\b\t\n\f\r"\\'


def json_size(text: str) -> int:
    """Bytes of a text in the JSON of a result: a NUL takes six of them."""
    data = text.encode(errors="replace")
    six = len(data) - len(data.translate(None, _SIX))
    two = len(data) - len(data.translate(None, _TWO))
    return len(data) + 5 * six + two


def within(text: str, most: int) -> str:
    """The text, or its start and its end, in at most about ``most`` bytes of JSON.

    What is left out in the middle is counted in a line.
    """
    if len(text) * 6 <= most or json_size(text) <= most:
        return text
    head = text[: _fitting(text, most // 2)]
    tail = text[::-1][: _fitting(text[::-1], most // 2)][::-1]
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n[revalid: {left_out} characters left out]\n{tail}"


def _fitting(text: str, most: int) -> int:
    """Characters from the start of a text that take at most so many bytes."""
    fits, too_many = 0, min(len(text), most) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if json_size(text[:middle]) <= most:
            fits = middle
        else:
            too_many = middle
    return fits
