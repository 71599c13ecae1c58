"""Admission of walks: limits how many are in work, their bytes, and how long they would wait.

A place is taken before the first byte of a body is read, so an overloaded service refuses at once
and stays within its memory budget, however many callers there are. The wait is predicted from the
pace of recent walks: how long each occupied the whole service, not only the encoder, from the later
of its arrival and the end of the one before it (Lindley's recursion, read backwards).

So no walk is admitted that would wait too long, and the queue refuses one that does all the same,
because the machine became slower. Whatever is answered was begun in time.

Where several callers share the service, each may hold as much as it leaves free: half of the places
and bytes if nobody else sends, a third if one other does. So whoever sends slowly, or much, never
keeps the others out (the dynamic thresholds of shared-memory switches).
"""

import math
from collections import Counter, deque
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
        self._places_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()
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
    def place(self, owner: str | None = None) -> Iterator["Place"]:
        """Hold a place, and the bytes it asks for, while the block runs.

        Args:
            owner: who shares the service with others; None for who need not.

        Raises:
            BusyError: at once, if no place is free or the walk would wait too long, or if the owner
                holds as many places as are free for the others.

        """
        self._check_walks()
        self._check_share(owner)
        place = Place(self, owner)
        self._count(owner, self._places_of, 1)
        self.taken += 1
        try:
            yield place
        finally:
            self.taken -= 1
            self.held_bytes -= place.held_bytes
            self._count(owner, self._places_of, -1)
            self._count(owner, self._bytes_of, -place.held_bytes)

    @staticmethod
    def _count(owner: str | None, counter: Counter[str], change: int) -> None:
        if owner is None:
            return
        counter[owner] += change
        if not counter[owner]:
            del counter[owner]

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

    def _check_share(self, owner: str | None) -> None:
        held = 0 if owner is None else self._places_of[owner]
        room = self._room()
        if held and held >= room:
            raise BusyError(
                "expected no more walks in work with one key than there is room for, got "
                f"{held}, and room for {math.ceil(room)} more, which is for the other keys; try "
                "again in a moment",
                retry_after_s=self._next_s(),
            )

    def _room(self) -> float:
        """Return how many more walks there are places for, and time until their turn."""
        places = float(self._walks - self.taken)
        if not self._walk_s:
            return places
        return min(places, (self._wait_s - self.expected_wait_s) / self._walk_s)

    def _next_s(self) -> int:
        """Return the whole seconds, at least 1, until one walk is done."""
        return max(1, math.ceil(self._walk_s))

    def hold(self, count: int, place: "Place") -> None:
        """Take `count` more bytes of the budget for a place.

        Raises:
            BusyError: the budget has fewer left, or the owner's other walks hold the share already.

        """
        left = self._body_bytes - self.held_bytes - count
        if left < 0:
            raise BusyError(
                f"bodies of {self.held_bytes:,} bytes are in work already, of at most "
                f"{self._body_bytes:,}; try again in a moment",
                retry_after_s=self._next_s(),
            )
        held = 0 if place.owner is None else self._bytes_of[place.owner]
        if held > place.held_bytes and held + count > left:
            raise BusyError(
                "expected no more bytes of bodies in work with one key than are left for the other "
                f"keys, got {held + count:,}, and {left:,} left; try again in a moment",
                retry_after_s=self._next_s(),
            )
        self._count(place.owner, self._bytes_of, count)
        self.held_bytes += count


class Place:
    """The place of one walk, and the bytes of its body."""

    def __init__(self, admission: Admission, owner: str | None) -> None:
        self._admission = admission
        self.owner = owner
        self.held_bytes = 0

    def hold(self, total: int) -> None:
        """Make sure that at least `total` bytes are held for this walk.

        Raises:
            BusyError: the bodies of all walks together would exceed the budget, or those of its
                owner the owner's share.

        """
        missing = total - self.held_bytes
        if missing > 0:
            self._admission.hold(missing, self)
            self.held_bytes = total
