"""What a plug-in's strategy is made of; ``docs/strategies.md`` explains it."""

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.worker.strategies.plan import Plan, PlannedStep, Runtime, check, install, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.strategy import Language, Strategy

__all__ = [
    "CheckName",
    "InvalidProject",
    "Language",
    "Plan",
    "PlannedStep",
    "ProjectTree",
    "Runtime",
    "Strategy",
    "check",
    "install",
    "skipped",
]
