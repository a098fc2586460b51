"""Plots all goals."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.goals import Row

_MET, _MISSED = "#2f9e63", "#c92a2a"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw each figure as a share of its bound; less is better."""
    mpl.rcParams["svg.hashsalt"] = "revalid"  # the same figures make the same file
    mpl.rcParams["svg.fonttype"] = "none"
    ordered = list(reversed(rows))
    used = [_used(row) for row in ordered]
    figure = Figure(figsize=(9, 0.42 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [str(row["name"]) for row in ordered],
        used,
        color=[_MET if row["met"] else _MISSED for row in ordered],
    )
    axes.axvline(1, color="#495057", linewidth=1)
    for place, (row, share) in enumerate(zip(ordered, used, strict=True)):
        words = f" {row['ratio']:g} ({'≥' if row['at_least'] else '<'} {row['goal']:g})"
        axes.text(share, place, words, va="center", fontsize=8)
    axes.set_xlim(0, max(1.2, *used) * 1.3)
    axes.set_xlabel("share of the bound that is used")
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _used(row: Row) -> float:
    value, bound = float(str(row["ratio"])), float(str(row["goal"]))
    return bound / max(value, 1e-9) if row["at_least"] else value / bound
