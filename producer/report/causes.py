"""Groups failures by what went wrong."""

from collections.abc import Iterable

from producer.report.model import Cause, Row


def find_causes(rows: Iterable[Row]) -> tuple[Cause, ...]:
    """What the red rows have in common, the most frequent first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.red:
            check = (row.failed_step or row.state).split(" ")[0]
            groups.setdefault((check, row.error or ""), []).append(row.project)
    causes = [
        Cause(title=message, check=check, message=message, projects=tuple(p), number=len(p))
        for (check, message), p in groups.items()
    ]
    return tuple(sorted(causes, key=lambda cause: -cause.number))
