"""Projects made of a mapping from path to content."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.job import Job, StrategyName
from revalid.jobs.source import PathSource
from revalid.worker.strategies.dispatch import Plan, PlannedStep, make_plan
from revalid.worker.strategies.project_tree import ProjectTree

Files = Mapping[str, str | dict[str, Any]]
Make = Callable[[Files], ProjectTree]
PlanOf = Callable[..., Plan]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project."""
    made = tmp_path / "project"
    made.mkdir()
    return made


@pytest.fixture
def make(project: Path) -> Make:
    """Writes files, a mapping as JSON, and gives the project's tree."""

    def made(files: Files) -> ProjectTree:
        for name, content in files.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return ProjectTree(project)

    return made


@pytest.fixture
def plan_of(project: Path, make: Make) -> PlanOf:
    """Writes files and plans the project."""

    def planned(files: Files, strategy: StrategyName = StrategyName.AUTO, **fields: Any) -> Plan:
        make(files)
        job = Job(source=PathSource(path=str(project)), strategy=strategy, **fields)
        return make_plan(job, project)

    return planned


def named(plan: Plan) -> dict[str, PlannedStep]:
    """The steps of a plan by name."""
    return {str(getattr(step.step, "name", "")): step for step in plan.steps}


def commands(plan: Plan) -> dict[str, str]:
    """The commands that run, by step name."""
    return {
        name: str(getattr(planned.step, "command", ""))
        for name, planned in named(plan).items()
        if planned.skipped_reason is None
    }


def skips(plan: Plan) -> dict[str, str]:
    """Why steps do not run, by step name."""
    return {n: s.skipped_reason for n, s in named(plan).items() if s.skipped_reason is not None}
