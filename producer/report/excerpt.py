"""Shortens output; failures show at its start and its end."""


def excerpt(text: str, limit: int) -> tuple[str, int]:
    """Shorten a text; keep a quarter of the limit from the start and the rest from the end.

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
