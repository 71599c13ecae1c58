"""How far the running rebuild is, kept in memory between the records in its job's row."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from gallery import Job, RebuildStopped

# Every record of progress is a transaction, and nobody looks at it more often than this.
_NOTE_EVERY_S = 1.0


@dataclass(frozen=True)
class Watched:
    """A job, and its remaining seconds if they can be estimated."""

    job: Job
    eta_s: float | None


def _utc() -> datetime:
    return datetime.now(UTC)


class Running:
    """The running job and its progress.

    Args:
        job: the job as it was recorded when it began.
        actor: who asked for it, for the audit log.
        clock: returns seconds, for the pace.
        today: returns the time that `updated_at` shows.

    """

    def __init__(
        self,
        job: Job,
        actor: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = _utc,
    ) -> None:
        self.job = job
        self.actor = actor
        self.stopped_as: Literal["cancelled", "interrupted"] | None = None
        self._clock = clock
        self._today = today
        self._began: tuple[float, int] | None = None
        self._at = 0.0
        self._noted: float | None = None

    def watched(self) -> Watched:
        """Return the job as it is now."""
        return Watched(self.job, self._eta_s())

    def _eta_s(self) -> float | None:
        """Return the seconds until all are embedded, by the pace so far; None without a pace."""
        job = self.job
        # How long the check of what is embedded takes cannot be told.
        if self._began is None or job.state != "running" or job.done >= job.total:
            return None
        began_at, done_before = self._began
        done = job.done - done_before
        if not done:
            return None
        left_s = (self._at - began_at) / done * (job.total - job.done)
        return max(0.0, left_s - (self._clock() - self._at))

    def require_wanted(self) -> None:
        """Do nothing while the job is wanted; raise RebuildStopped if it was stopped."""
        if self.stopped_as is not None:
            raise RebuildStopped(
                f"stopped at {self.job.done} of {self.job.total} samples; a rebuild to the same "
                "model goes on from there"
            )

    def is_noted_again(self, done: int, total: int) -> bool:
        """Take in the progress, and tell whether the caller has to record it now."""
        self._at = self._clock()
        self._began = self._began or (self._at, done)
        self.job = replace(self.job, done=done, total=total)
        # A stopped job calls no more, and its row must not stay behind what is embedded.
        return self.is_noted_long_ago() or done >= total or self.stopped_as is not None

    def is_noted_long_ago(self) -> bool:
        """Take in that the job is at work, and tell whether the caller has to record it now."""
        # Whoever asks here is answered from memory, not from the record.
        self.job = replace(self.job, updated_at=self._today())
        at = self._clock()
        if self._noted is not None and at - self._noted < _NOTE_EVERY_S:
            return False
        self._noted = at
        return True
