"""Runs an install again while a registry, the network or the machine fails it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from revalid.jobs.result import StepResult
from revalid.worker.run.install_faults import Fault, answer, install_fault, question

PAUSES_S = (2.0, 8.0)
"""Seconds before each new try."""
_QUESTION_S = 60.0

Run = Callable[[str, float], Awaitable[StepResult]]
"""Runs a command within some seconds."""


@dataclass
class InstallTries:
    """The tries of one install.

    Args:
        limit_s: Seconds that one try may take.
        time_left: Returns the seconds until the job's limit.

    Attributes:
        notes: Sentences for the reader of the result.
    """

    command: str
    limit_s: float
    run: Run
    time_left: Callable[[], float]
    notes: list[str] = field(default_factory=list)

    async def judged(self, result: StepResult) -> StepResult:
        """Return the result of the last try; with ``fault`` if our side failed it.

        Args:
            result: The result of the first try.
        """
        words, tries = "", 1
        while (fault := await self._fault(result)) is not None:
            words = words or fault.words
            pause_s = PAUSES_S[tries - 1] if tries <= len(PAUSES_S) else None
            if pause_s is None or not fault.passes or self.time_left() <= pause_s:
                more = f" (tried {tries} times)" if tries > 1 else ""
                return result.model_copy(update={"fault": f"{words}{more}"})
            await asyncio.sleep(pause_s)
            result, tries = await self.run(self.command, self.limit_s), tries + 1
        if words:
            self.notes.append(f"{result.name} was tried {tries} times; at first: {words}")
        return result

    async def _fault(self, result: StepResult) -> Fault | None:
        fault, asked = install_fault(self.command, result), question(self.command, result)
        if fault is None and asked is not None:
            return answer(await self.run(asked, _QUESTION_S))
        return fault
