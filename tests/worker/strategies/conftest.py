"""Projects written from a mapping of path to content."""

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
    """Return the directory of an empty project."""
    project = tmp_path / "project"
    project.mkdir()
    return project


@pytest.fixture
def make(project: Path) -> Make:
    """Return a function that writes files, mappings as JSON, and returns the project's tree."""

    def make_tree(files: Files) -> ProjectTree:
        for name, content in files.items():
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return ProjectTree(project)

    return make_tree


@pytest.fixture
def plan_of(project: Path, make: Make) -> PlanOf:
    """Return a function that writes files and plans the project."""

    def plan_files(files: Files, strategy: StrategyName = StrategyName.AUTO, **fields: Any) -> Plan:
        make(files)
        job = Job(source=PathSource(path=str(project)), strategy=strategy, **fields)
        return make_plan(job, project)

    return plan_files


def steps_by_name(plan: Plan) -> dict[str, PlannedStep]:
    """Return the steps of a plan by name."""
    return {step.name: step for step in plan.steps}


def commands(plan: Plan) -> dict[str, str]:
    """Return the commands that run, by step name."""
    return {
        name: str(getattr(step.step, "command", ""))
        for name, step in steps_by_name(plan).items()
        if step.skipped_reason is None
    }


def skips(plan: Plan) -> dict[str, str]:
    """Return the reasons why steps do not run, by step name."""
    return {
        n: s.skipped_reason for n, s in steps_by_name(plan).items() if s.skipped_reason is not None
    }
