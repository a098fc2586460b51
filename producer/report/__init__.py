"""Reports of a batch in five formats, with the common causes of its failures."""

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
