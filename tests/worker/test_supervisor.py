"""How long a worker takes to end once it is told to stop."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery

from revalid.jobs.settings import load_settings
from revalid.worker import supervisor as module
from revalid.worker.supervisor import Supervisor

GRACE_S = 3.0
MARGIN_S = 10.0
"""What the operating page has ``stop_grace_period`` be above the grace."""


@pytest.mark.parametrize("children_take_s", [0.3, 8.0, 60.0])
@pytest.mark.parametrize("stop_takes_s", [0.0, 2.0])
def test_a_worker_ends_within_its_margin_though_celery_hangs(
    valkey_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children_take_s: float,
    stop_takes_s: float,
) -> None:
    settings = load_settings({}, env_file=None, broker_url=valkey_url, home=tmp_path)
    supervisor = Supervisor(settings, valkey_url, Celery(set_as_current=False), "worker@host", [])
    clock = [0.0]
    ended_at: list[float] = []

    def passes(seconds: float) -> None:
        clock[0] += seconds

    def start(after_s: float, end: Callable[[], None]) -> SimpleNamespace:
        def run() -> None:
            passes(after_s)
            end()

        return SimpleNamespace(start=run)

    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module, "sleep", passes)
    monkeypatch.setattr(module, "end_children", lambda bound: passes(min(bound, children_take_s)))
    monkeypatch.setattr(os, "_exit", lambda _status: ended_at.append(clock[0]))
    monkeypatch.setattr(threading, "Timer", start)
    monkeypatch.setattr(supervisor, "stop", lambda: passes(stop_takes_s))
    supervisor.drain(GRACE_S)
    assert ended_at[0] < GRACE_S + MARGIN_S
