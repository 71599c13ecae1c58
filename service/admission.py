"""Who may send a walk now: so many walks at once, so many bytes, and none that would wait too long.

A place is taken before the first byte of a body is read, so an overloaded service answers at once
and holds no more memory than its budget, however many callers there are. How long a walk would wait
is told from the pace of those of late: what each took of the whole service, not of the encoder
alone, from when it was there or the one before was done (Lindley's recursion, read backwards).

So nobody is let in who would wait too long; and who has waited too long all the same, because the
machine became slower, is refused by the queue. What is answered was begun in time.
"""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from service.batcher import BatchReport
from service.errors import BusyError

# Encoder calls of late of which all but the slowest tell the pace: one that stalls changes nothing.
_CALLS_OF_LATE = 17
# Of the time that a walk may wait, what is given away: the rest is for a pace that changes.
_GIVEN_AWAY = 0.8


class Admission:
    """Counts the walks in work, from the first byte of their upload to their answer.

    Belongs to the event loop of the service: nothing here waits, so nothing here locks.

    Args:
        walks: walks in work at once.
        body_bytes: bytes of their bodies.
        wait_s: seconds after which the queue refuses a walk; it is let in when it is expected to
            wait four fifths of that at most.

    """

    def __init__(self, *, walks: int, body_bytes: int, wait_s: float = math.inf) -> None:
        self._walks = walks
        self._body_bytes = body_bytes
        self._wait_s = _GIVEN_AWAY * wait_s
        self._of_late: deque[float] = deque(maxlen=_CALLS_OF_LATE)
        self._walk_s = 0.0
        self._until = -math.inf
        self._more = 0
        self.taken = 0
        """Places taken now."""
        self.held_bytes = 0
        """Bytes that their bodies take, or have announced."""

    @property
    def expected_wait_s(self) -> float:
        """Seconds until the encoder would come to a walk that arrives now."""
        return (self.taken + self._more) * self._walk_s

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until what is in work now is done; 1 at least."""
        return max(1, math.ceil(self.expected_wait_s))

    def encoded(self, report: BatchReport) -> None:
        """Take note of what walks took of the service, whichever encoder it was."""
        taken_s = report.until - max(self._until, report.since)
        self._until = report.until
        self._of_late.append(taken_s / len(report.frames))
        usual = sorted(self._of_late)[: max(1, len(self._of_late) - 1)]
        self._walk_s = sum(usual) / len(usual)

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

    @contextmanager
    def several(self, walks: int) -> Iterator[None]:
        """Count a place as `walks` that the encoder has to work on, while the block runs."""
        self._more += walks - 1
        try:
            yield
        finally:
            self._more -= walks - 1

    def _check_walks(self) -> None:
        if self.taken >= self._walks:
            raise BusyError(
                f"{self._walks} walks are in work already; try again in a moment",
                retry_after_s=self._next_s(),
            )
        late_s = self.expected_wait_s - self._wait_s
        if late_s > 0:
            raise BusyError(
                f"expected a wait of at most {self._wait_s:g} seconds, got walks in work that take "
                f"{self.expected_wait_s:.1f} seconds; try again in a moment",
                retry_after_s=math.ceil(late_s),
            )

    def _next_s(self) -> int:
        """Whole seconds in which one walk is done and gives back what it holds; 1 at least."""
        return max(1, math.ceil(self._walk_s))

    def hold(self, count: int) -> None:
        """Take `count` more bytes of the budget; raises BusyError when they are not there."""
        if self.held_bytes + count > self._body_bytes:
            raise BusyError(
                f"bodies of {self.held_bytes:,} bytes are in work already, of at most "
                f"{self._body_bytes:,}; try again in a moment",
                retry_after_s=self._next_s(),
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
