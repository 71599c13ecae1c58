"""The two ways to search a compact index: through the codes, and through every whole vector.

Through the codes, a search passes three sieves. Sketches of all samples name some thousand that are
near. Their codes bound their distances from below. In the order of these bounds whole vectors are
compared, until the next bound is beyond the k-th distance found.

Whom the sketches do not name is not seen. A proof makes up for that: it bounds the distance to
every sample by the first numbers of its code, and compares with everybody who is not ruled out. It
reads six times the memory and many more whole vectors, and it stops at a stated limit.
"""

from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.codes import EMPTY, CodeTable, Probe
from gallery.indexes.projection import Floats, Projection, squared_lengths
from gallery.indexes.slots import PAGE, DamagedError, SlotFiles

# Slots that are looked at more closely, and as many again for each of the k nearest.
_PROMISING, _PROMISING_EACH = 1000, 100
# Whole vectors of these that are compared at most, at first and for each of the k nearest.
_WHOLE, _WHOLE_EACH = 64, 4
# Whole vectors that are compared at a time, and in a proof at most beyond 4 for each k.
_STEP, _LIMIT = 32, 2000
# Samples that a proof bounds by their whole codes at most.
_BOUNDED = 100_000
# What float32 rounding may do to a bound, as a share of the squared lengths that went into it.
_SLACK = 2e-5


class Found(NamedTuple):
    """The nearest slots, nearest first, float32 and int64 `[k]`."""

    squared: Floats
    slots: NDArray[np.int64]
    proven: bool
    changed: bool = False
    """The proof found others than those found before it."""


class Nearest:
    """The k nearest of what was compared so far."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.squared = np.empty(0, np.float32)
        self.slots = np.empty(0, np.int64)

    @property
    def farthest(self) -> float:
        """Squared distance of the k-th; infinite while there are fewer."""
        return float(self.squared[-1]) if len(self.squared) == self.k else float("inf")

    def offer(self, squared: Floats, slots: NDArray[np.int64]) -> None:
        """Take in the squared distances of other slots."""
        every = np.concatenate([self.squared, squared])
        best = np.argsort(every, kind="stable")[: self.k]
        self.slots = np.concatenate([self.slots, slots])[best]
        self.squared = every[best]


def compare_all(files: SlotFiles, slots: NDArray[np.int64], vector: Floats, k: int) -> Found:
    """Compare with the whole vector of every used slot int64 `[N]`, N at least k."""
    nearest = Nearest(k)
    for start in range(0, len(slots), PAGE):
        page = slots[start : start + PAGE]
        nearest.offer(_squared_distances(files, page, vector), page)
    return Found(nearest.squared, nearest.slots, proven=True)


class Cascade:
    """Searches through the codes."""

    def __init__(self, projection: Projection, table: CodeTable, files: SlotFiles) -> None:
        self.projection = projection
        self.table = table
        self._files = files
        self._scratch = local()

    def search(self, vector: Floats, k: int, *, prove: bool) -> Found:
        """Find the k nearest of more than k used slots to a vector float32 `[L]`.

        With `prove` the answer is the exact one, unless it says that it had to stop.

        Raises:
            DamagedError: a vector on the disk is not the one whose code is in memory.

        """
        probe = self.table.probe(self.projection.codes(vector[np.newaxis]))
        chase = _Chase(self.table, self._files, vector, probe, k)
        promising = self.table.promising(probe, _PROMISING + _PROMISING_EACH * k)
        chase.follow(promising, most=_WHOLE + _WHOLE_EACH * k)
        nearest = chase.nearest
        is_short = len(nearest.slots) < k  # so many of those named were empty
        if not (prove or is_short):
            return Found(nearest.squared, nearest.slots, proven=False)
        before = nearest.slots
        proven = self._prove(chase)
        changed = not np.array_equal(before, nearest.slots)
        return Found(nearest.squared, nearest.slots, proven, changed)

    def _prove(self, chase: "_Chase") -> bool:
        """Compare with whoever may be nearer than the k-th so far; False where that is too many."""
        bounds = self.table.first_bounds(chase.probe, self._room())
        bounds[chase.compared()] = np.inf
        left = np.flatnonzero(bounds <= chase.reach)
        proven = len(left) <= _BOUNDED
        if not proven:
            left = left[np.argpartition(bounds[left], _BOUNDED)[:_BOUNDED]]
        return chase.follow(left, most=_LIMIT + _WHOLE_EACH * chase.nearest.k) and proven

    def _room(self) -> Floats:
        """Room for a bound of every slot, one for each thread that searches."""
        room: Floats | None = getattr(self._scratch, "room", None)
        if room is None or len(room) < self.table.slots:
            room = self._scratch.room = np.empty(self.table.slots, np.float32)
        return room


class _Chase:
    """One search: what it has compared with and found so far."""

    def __init__(
        self, table: CodeTable, files: SlotFiles, vector: Floats, probe: Probe, k: int
    ) -> None:
        self.probe = probe
        self.nearest = Nearest(k)
        self._table = table
        self._files = files
        self._vector = vector
        self._compared = [np.empty(0, np.int64)]
        self._slack = _SLACK * (probe.norm + table.longest)

    @property
    def reach(self) -> float:
        """The bound that the k-th nearest cannot exceed, without the probe's squared length."""
        return min(self.nearest.farthest - self.probe.norm + self._slack, EMPTY)

    def compared(self) -> NDArray[np.int64]:
        """Slots that were compared whole."""
        return np.concatenate(self._compared)

    def follow(self, slots: NDArray[np.int64], most: int) -> bool:
        """Compare with slots in the order of their bounds while they may be among the nearest.

        Returns:
            Whether that ended before `most` whole vectors were compared.

        """
        bounds = self._table.second_bounds(self.probe, slots)
        near = np.flatnonzero(bounds.lowest <= self.reach)
        near = near[np.argsort(bounds.lowest[near])]
        for start in range(0, len(near), _STEP):
            if bounds.lowest[near[start]] > self.reach:
                return True
            if start >= most:
                return False
            these = near[start : start + _STEP]
            these = these[np.argsort(slots[these])]  # neighbours on the disk are read together
            self._compare(slots[these], bounds.lowest[these], bounds.highest[these])
        return True

    def _compare(self, slots: NDArray[np.int64], lowest: Floats, highest: Floats) -> None:
        squared = _squared_distances(self._files, slots, self._vector)
        beyond = squared - np.float32(self.probe.norm)
        if (beyond < lowest - self._slack).any() or (beyond > highest + self._slack).any():
            raise DamagedError("a vector on the disk is not the one that its code was made from")
        self.nearest.offer(squared, slots)
        self._compared.append(slots)


def _squared_distances(files: SlotFiles, slots: NDArray[np.int64], vector: Floats) -> Floats:
    return squared_lengths(files.vectors(slots) - vector)
