"""Every error that revalid raises on purpose.

::

    RevalidError
      PermanentError          never retried: the job or the request is wrong
        InvalidJob            does not parse, or names something that does not exist
        InvalidProject        unsafe, unreadable, too large or missing
          NoStrategyFits      holds nothing that a strategy knows
        PolicyRefused         needs something that this worker does not allow
        InvalidSettings       a setting is unknown or has a bad value
        UnknownJob            no job has this id
      TransientError          our side failed; the same job may pass later
        BrokerUnavailable     Redis cannot be reached, or refuses
        ArchiveUnavailable    the archive's database cannot be reached, or refuses
        QueueFull             the limit of queued jobs is reached
        StoreFull             the limit of project bytes in Redis is reached
        WorkerUnavailable     the worker for the job did not start, or ended
        EngineUnavailable     no Dagger engine answers
        SandboxLost           a sandbox broke while a step ran
        ToolMissing           the sandbox lacks a tool of the strategy
        InstallErrored        a registry, the network or the machine failed an install
        StrategyBroken        a plug-in of the worker failed
        LeaseLost             another attempt owns the job now
        ResultTimeout         the result did not come within the caller's timeout
      JobNotPassed            the job's verdict is not passed; for users of Celery's AsyncResult

A command that exits non-zero raises no error: its exit code is part of the step's result.
"""

RETRY_AFTER_S = 10.0
"""Seconds after which to try again if a queue, a store or Redis is full or away."""


class RevalidError(Exception):
    """The base class. The message is one line: what failed, on what, and what to do next.

    Attributes:
        job_id: The job that the error concerns, or None.
        retry_after_s: Seconds after which the same call may succeed; None if unknown.
    """

    def __init__(
        self, message: str = "", *, job_id: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.retry_after_s = retry_after_s


class PermanentError(RevalidError):
    """The job or the request is wrong; a repetition would fail in the same way."""


class InvalidJob(PermanentError):
    """The job does not parse, or names something that does not exist."""


class InvalidProject(PermanentError):
    """The project is unsafe, unreadable, too large or missing."""


class NoStrategyFits(InvalidProject):
    """The project holds nothing that a strategy knows."""


class PolicyRefused(PermanentError):
    """The job asks for something that this worker's settings do not allow."""


class InvalidSettings(PermanentError):
    """A ``REVALID_*`` setting is unknown or has a bad value."""


class UnknownJob(PermanentError):
    """No job with this id is in the ledger."""


class TransientError(RevalidError):
    """Our side failed; the same job may pass later."""


class BrokerUnavailable(TransientError):
    """Redis cannot be reached, or refuses to store."""


class ArchiveUnavailable(TransientError):
    """The archive's database cannot be reached, or refuses to store."""


class QueueFull(TransientError):
    """The queue holds as many jobs as ``REVALID_QUEUED_JOBS`` allows."""


class StoreFull(TransientError):
    """Redis has no room for the project: the tenant's bound, or half of Redis's memory, is used."""


class WorkerUnavailable(TransientError):
    """The worker that was started for the job did not come up, or it ended."""


class EngineUnavailable(TransientError):
    """No Dagger engine answered in time."""


class SandboxLost(TransientError):
    """A sandbox broke while a step ran; nothing is known about the project."""


class ToolMissing(TransientError):
    """The sandbox lacks a tool of the strategy; nothing is known about the project."""


class InstallErrored(TransientError):
    """A registry, the network or the machine failed an install; nothing is known on the project."""


class StrategyBroken(TransientError):
    """A plug-in of the worker failed; nothing is known about the project."""


class LeaseLost(TransientError):
    """The lease ended and another attempt may own the job; this attempt must record nothing."""


class ResultTimeout(TransientError, TimeoutError):
    """The job was not done within the caller's timeout; the job goes on."""


class JobNotPassed(RevalidError):
    """The verdict of the job is not ``passed``; Celery's ``AsyncResult.get`` raises this error.

    Attributes:
        outcome: The mapping that Celery stores: ``verdict``, ``failed_step``, ``sandbox``, ``job``.
    """

    def __init__(
        self,
        message: str = "",
        outcome: dict[str, object] | None = None,
        *,
        job_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        outcome = outcome or {}
        if job_id is None and "job" in outcome:
            job_id = str(outcome["job"])
        super().__init__(message, job_id=job_id, retry_after_s=retry_after_s)
        self.outcome = outcome
        self.args = (message, outcome)  # Celery recreates the error from these

    def __str__(self) -> str:
        return str(self.args[0])
