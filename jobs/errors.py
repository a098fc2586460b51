"""Every error that revalid raises on purpose.

::

    RevalidError
      PermanentError          never retried: the job, or how it was asked for, is wrong
        InvalidJob            does not parse, or names what does not exist
        InvalidProject        unsafe, unreadable, too large or missing
        PolicyRefused         asks for what this worker does not allow
        InvalidSettings       a setting is unknown or has a bad value
        UnknownJob            no job has this id
      TransientError          our side failed; the same job may pass later
        BrokerUnavailable     Redis is not reached
        ArchiveUnavailable    the archive's database is not reached, or refuses
        QueueFull             as many jobs wait as may
        StoreFull             projects in Redis fill what they may
        WorkerUnavailable     no worker takes the job
        EngineUnavailable     no Dagger engine answers
        SandboxLost           a sandbox broke while a step ran
        LeaseLost             another attempt owns the job now
        ResultTimeout         the caller would not wait longer for a result

A command that exits non-zero is in neither branch: it is a step's result.
"""


class RevalidError(Exception):
    """The base of the tree: one line that says what failed, on what, and what to do next.

    Attributes:
        job_id: The job that it is about; None where it is about none.
        retry_after_s: Seconds after which the same call may succeed; None where none is known.
    """

    def __init__(
        self, message: str = "", *, job_id: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.retry_after_s = retry_after_s


class PermanentError(RevalidError):
    """The job itself is wrong; running it again would end the same way."""


class InvalidJob(PermanentError):
    """The job does not parse, or names something that does not exist."""


class InvalidProject(PermanentError):
    """The project is unsafe, unreadable, too large or missing."""


class PolicyRefused(PermanentError):
    """The job asks for something that this worker's settings do not allow."""


class InvalidSettings(PermanentError):
    """A ``REVALID_*`` setting is unknown or has a bad value."""


class UnknownJob(PermanentError):
    """No job with this id is in the ledger."""


class TransientError(RevalidError):
    """Our side failed; the same job may pass later."""


class BrokerUnavailable(TransientError):
    """Redis is not reached, or refuses to store."""


class ArchiveUnavailable(TransientError):
    """The archive's database is not reached, or refuses to store."""


class QueueFull(TransientError):
    """As many jobs are queued as ``REVALID_QUEUED_JOBS`` allows."""


class StoreFull(TransientError):
    """Redis holds as many bytes of projects as ``REVALID_TENANT_BLOB_BYTES`` or its size allow."""


class WorkerUnavailable(TransientError):
    """The worker that was to take the job did not start, or ended."""


class EngineUnavailable(TransientError):
    """No Dagger engine answers within its bound."""


class SandboxLost(TransientError):
    """A sandbox broke while a step ran; nothing is known about the project."""


class LeaseLost(TransientError):
    """The lease ended and another attempt may own the job: this one must record nothing."""


class ResultTimeout(TransientError, TimeoutError):
    """The job was not done in the time that the caller gave; it goes on."""
