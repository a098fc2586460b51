"""Numbers with the thing that they count."""


def counted(number: int, thing: str) -> str:
    """Return a number and its thing, such as ``1 test`` or ``3 tests``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
