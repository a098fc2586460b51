"""The reports of a batch: what it came to, what its failures have in common, in five formats."""

from revalid.producer.report.builder import build, compare
from revalid.producer.report.formats import FORMATS, read, render, write
from revalid.producer.report.model import BatchReport, Cause, Change, Comparison, Row

__all__ = [
    "FORMATS",
    "BatchReport",
    "Cause",
    "Change",
    "Comparison",
    "Row",
    "build",
    "compare",
    "read",
    "render",
    "write",
]
