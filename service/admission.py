"""Admission of walks: limits how many are in work, their bytes, and how long they would wait.

A place is taken before the first byte of a body is read, so an overloaded service refuses at once
and stays within its memory budget, however many callers there are. The wait is predicted from the
pace of recent walks: how long each occupied the whole service, not only the encoder, from the later
of its arrival and the end of the one before it (Lindley's recursion, read backwards).

So no walk is admitted that would wait too long, and the queue refuses one that does all the same,
because the machine became slower. Whatever is answered was begun in time.
"""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from service.batcher import BatchReport
from service.errors import BusyError

# The pace is the mean of the last encoder calls but the slowest: one that stalls changes nothing.
_CALLS_OF_LATE = 17
# The share of the longest wait that is given away; the rest is in reserve for a slower pace.
_GIVEN_AWAY = 0.8


class Admission:
    """Counts the walks in work, from the first byte of their upload to their answer.

    Belongs to the service's event loop. Nothing here awaits, so no lock is needed.

    Args:
        walks: most walks in work at once.
        body_bytes: most bytes of their bodies together.
        wait_s: seconds after which the queue refuses a walk; one is admitted if its expected wait
            is at most four fifths of that.

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
        """How many places are taken now."""
        self.held_bytes = 0
        """How many bytes their bodies take, or have announced."""

    @property
    def expected_wait_s(self) -> float:
        """Return the seconds until the encoder would begin with a walk that arrives now."""
        return (self.taken + self._more) * self._walk_s

    @property
    def retry_after_s(self) -> int:
        """Return the whole seconds, at least 1, until what is in work now is done."""
        return max(1, math.ceil(self.expected_wait_s))

    def encoded(self, report: BatchReport) -> None:
        """Update the pace by how long a batch occupied the service, whichever encoder ran it."""
        taken_s = report.until - max(self._until, report.since)
        self._until = report.until
        self._of_late.append(taken_s / len(report.frames))
        usual = sorted(self._of_late)[: max(1, len(self._of_late) - 1)]
        self._walk_s = sum(usual) / len(usual)

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Hold a place, and the bytes it asks for, while the block runs.

        Raises:
            BusyError: at once, if no place is free or the walk would wait too long.

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
        """Count one place as `walks` walks for the encoder while the block runs."""
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
        """Return the whole seconds, at least 1, until one walk is done."""
        return max(1, math.ceil(self._walk_s))

    def hold(self, count: int) -> None:
        """Take `count` more bytes of the budget; raises BusyError if it has fewer left."""
        if self.held_bytes + count > self._body_bytes:
            raise BusyError(
                f"bodies of {self.held_bytes:,} bytes are in work already, of at most "
                f"{self._body_bytes:,}; try again in a moment",
                retry_after_s=self._next_s(),
            )
        self.held_bytes += count


class Place:
    """The place of one walk, and the bytes of its body."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held_bytes = 0

    def hold(self, total: int) -> None:
        """Make sure that at least `total` bytes are held for this walk.

        Raises:
            BusyError: the bodies of all walks together would exceed the budget.

        """
        missing = total - self.held_bytes
        if missing > 0:
            self._admission.hold(missing)
            self.held_bytes = total
