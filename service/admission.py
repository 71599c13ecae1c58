"""Who may send a walk now: so many walks at once, and so many bytes of bodies together.

A place is taken before the first byte of a body is read, so an overloaded service answers at once
and holds no more memory than its budget, however many callers there are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import BusyError


class Admission:
    """Counts the walks in work, from the first byte of their upload to their answer.

    Belongs to the event loop of the service: nothing here waits, so nothing here locks.
    """

    def __init__(self, *, walks: int, body_bytes: int) -> None:
        self._walks = walks
        self._body_bytes = body_bytes
        self.taken = 0
        """Walks in work now."""
        self.held_bytes = 0
        """Bytes that their bodies take, or have announced."""

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Hold a place and what is held through it; raises BusyError at once when none is free."""
        if self.taken >= self._walks:
            raise BusyError(f"{self._walks} walks are in work already; try again in a moment")
        self.taken += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.taken -= 1
            self.held_bytes -= place.held_bytes

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
