"""The public API of revalid: submit projects, follow their jobs, read results.

Every name is imported when it is first used, so that the command line's help need not wait.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from revalid.version import __version__

if TYPE_CHECKING:
    from revalid.jobs.errors import (
        ArchiveUnavailable,
        BrokerUnavailable,
        EngineUnavailable,
        InstallErrored,
        InvalidJob,
        InvalidProject,
        InvalidSettings,
        JobNotPassed,
        LeaseLost,
        NoStrategyFits,
        PermanentError,
        PolicyRefused,
        QueueFull,
        ResultTimeout,
        RevalidError,
        SandboxLost,
        StoreFull,
        StrategyBroken,
        ToolMissing,
        TransientError,
        UnknownJob,
        WorkerUnavailable,
    )
    from revalid.jobs.events import Event
    from revalid.jobs.job import Job, Limits, PlugInName
    from revalid.jobs.ledger.record import JobState
    from revalid.jobs.result import JobResult, StepResult, StepStatus, Verdict
    from revalid.jobs.settings import Settings
    from revalid.producer.async_client import AsyncClient, AsyncJobHandle
    from revalid.producer.client import Client, JobHandle, JobStatus
    from revalid.producer.options import SubmitOptions

__all__ = [
    "ArchiveUnavailable",
    "AsyncClient",
    "AsyncJobHandle",
    "BrokerUnavailable",
    "Client",
    "EngineUnavailable",
    "Event",
    "InstallErrored",
    "InvalidJob",
    "InvalidProject",
    "InvalidSettings",
    "Job",
    "JobHandle",
    "JobNotPassed",
    "JobResult",
    "JobState",
    "JobStatus",
    "LeaseLost",
    "Limits",
    "NoStrategyFits",
    "PermanentError",
    "PlugInName",
    "PolicyRefused",
    "QueueFull",
    "ResultTimeout",
    "RevalidError",
    "SandboxLost",
    "Settings",
    "StepResult",
    "StepStatus",
    "StoreFull",
    "StrategyBroken",
    "SubmitOptions",
    "ToolMissing",
    "TransientError",
    "UnknownJob",
    "Verdict",
    "WorkerUnavailable",
    "__version__",
]

_MODULES = {
    "AsyncClient": "producer.async_client",
    "AsyncJobHandle": "producer.async_client",
    "Client": "producer.client",
    "Event": "jobs.events",
    "Job": "jobs.job",
    "JobHandle": "producer.client",
    "JobResult": "jobs.result",
    "JobState": "jobs.ledger.record",
    "JobStatus": "producer.client",
    "Limits": "jobs.job",
    "PlugInName": "jobs.job",
    "Settings": "jobs.settings",
    "StepResult": "jobs.result",
    "StepStatus": "jobs.result",
    "SubmitOptions": "producer.options",
    "Verdict": "jobs.result",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'jobs.errors')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
