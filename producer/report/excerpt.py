"""Keeps the ends of a text, where failures say what they are."""


def excerpt(text: str, limit: int) -> tuple[str, int]:
    """A quarter from the start and the rest from the end of a text that is too long.

    Args:
        limit: Characters to keep.

    Returns:
        What is kept, and how many characters are left out in the middle.
    """
    if len(text) <= limit:
        return text, 0
    head = text[: limit // 4]
    tail = text[len(text) - (limit - len(head)) :]
    return f"{head}\n[…]\n{tail}", len(text) - limit
