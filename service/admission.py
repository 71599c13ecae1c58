"""Who may send a walk now: so many walks at once, so many bytes, and none that would wait too long.

A place is taken before the first byte of a body is read, so an overloaded service answers at once
and holds no more memory than its budget, however many callers there are. How long a walk would wait
is told from how long the encoder took for those of late.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from service.batcher import BatchReport
from service.errors import BusyError

# Encoder calls of late whose median tells how long a walk takes; one slow call changes nothing.
_CALLS_OF_LATE = 9


class Admission:
    """Counts the walks in work, from the first byte of their upload to their answer.

    Belongs to the event loop of the service: nothing here waits, so nothing here locks.

    Args:
        walks: walks in work at once.
        body_bytes: bytes of their bodies.
        wait_s: seconds that a walk may wait for those before it.

    """

    def __init__(self, *, walks: int, body_bytes: int, wait_s: float = math.inf) -> None:
        self._walks = walks
        self._body_bytes = body_bytes
        self._wait_s = wait_s
        self._of_late: deque[float] = deque(maxlen=_CALLS_OF_LATE)
        self._walk_s = 0.0
        self.taken = 0
        """Walks in work now."""
        self.held_bytes = 0
        """Bytes that their bodies take, or have announced."""

    @property
    def expected_wait_s(self) -> float:
        """Seconds until the encoder would come to a walk that arrives now."""
        return self.taken * self._walk_s

    def encoded(self, report: BatchReport) -> None:
        """Take note of how long walks take."""
        self._of_late.append(report.encode_s / len(report.frames) / report.calls)
        self._walk_s = statistics.median(self._of_late)

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Hold a place and what is held through it.

        Raises:
            BusyError: at once, when none is free or the walk would wait too long.

        """
        self._check_walks()
        self.taken += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.taken -= 1
            self.held_bytes -= place.held_bytes

    def _check_walks(self) -> None:
        if self.taken >= self._walks:
            raise BusyError(
                f"{self._walks} walks are in work already; try again in a moment",
                retry_after_s=max(1, math.ceil(self._walk_s)),
            )
        late_s = self.expected_wait_s - self._wait_s
        if late_s > 0:
            raise BusyError(
                f"expected to wait at most {self._wait_s:g} seconds, and {self.taken} walks are in "
                f"work already, which takes {self.expected_wait_s:.0f} seconds",
                retry_after_s=math.ceil(late_s),
            )

    def hold(self, count: int) -> None:
        """Take `count` more bytes of the budget; raises BusyError when they are not there."""
        if self.held_bytes + count > self._body_bytes:
            raise BusyError(
                f"bodies of {self.held_bytes:,} bytes are in work already, of at most "
                f"{self._body_bytes:,}; try again in a moment"
            )
        self.held_bytes += count


class Place:
    """The place of one walk."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held_bytes = 0

    def hold(self, total: int) -> None:
        """See to it that `total` bytes are held for this walk.

        Raises:
            BusyError: the bodies of all walks together would pass the budget.

        """
        missing = total - self.held_bytes
        if missing > 0:
            self._admission.hold(missing)
            self.held_bytes = total
