"""Compares measured values with goals."""

Row = dict[str, object]


def goal(name: str, ratio: float, bound: float, unit: str = "", *, at_least: bool = False) -> Row:
    """Print one goal and return its row; ``at_least`` turns the upper bound into a lower one."""
    met = ratio >= bound if at_least else ratio < bound
    words = "at least" if at_least else "under"
    print(
        f"  {'met' if met else 'MISSED':6} {name}: {ratio:.2f}{unit} ({words} {bound:g}{unit})",
        flush=True,
    )
    return {
        "name": name,
        "ratio": round(ratio, 3),
        "goal": bound,
        "unit": unit.strip(),
        "at_least": at_least,
        "met": met,
    }
