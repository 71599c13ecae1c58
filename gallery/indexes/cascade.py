"""The two ways to search a compact index: through the codes, or by comparing every whole vector.

A search through the codes has three stages. Sketches of all samples select a few thousand that are
probably near. Their codes give lower bounds of their distances. Whole vectors are then compared in
the order of these bounds, until the next bound exceeds the k-th distance found.

Samples that the sketches do not select are missed. A proof makes up for that: it bounds the
distance to every sample by the first numbers of its code, and compares every sample that is not
ruled out. It reads six times the memory and many more whole vectors, and gives up at a fixed limit.
"""

from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.codes import EMPTY, CodeTable, Probe
from gallery.indexes.projection import Floats, Projection, squared_lengths
from gallery.indexes.slots import PAGE, DamagedError, SlotFiles

# Slots examined more closely: a fixed number, plus so many for each of the k nearest.
_PROMISING, _PROMISING_EACH = 1000, 100
# Maximum number of whole vectors compared in a normal search: fixed, plus for each of the k.
_WHOLE, _WHOLE_EACH = 64, 4
# Whole vectors compared at a time, and the maximum in a proof, beyond 4 for each of the k nearest.
_STEP, _LIMIT = 32, 2000
# Maximum number of samples that a proof bounds by their whole codes.
_BOUNDED = 100_000
# Allowance for float32 rounding in a bound, as a share of the squared lengths behind it.
_SLACK = 2e-5


class Found(NamedTuple):
    """The nearest slots and their squared distances, float32 and int64 `[k]`, nearest first."""

    squared: Floats
    slots: NDArray[np.int64]
    proven: bool
    changed: bool = False
    """The proof found other slots than the search before it."""


class Nearest:
    """The k nearest slots among those compared so far."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.squared = np.empty(0, np.float32)
        self.slots = np.empty(0, np.int64)

    @property
    def farthest(self) -> float:
        """Return the squared distance of the k-th slot; infinite while there are fewer."""
        return float(self.squared[-1]) if len(self.squared) == self.k else float("inf")

    def offer(self, squared: Floats, slots: NDArray[np.int64]) -> None:
        """Take in further slots with their squared distances."""
        every = np.concatenate([self.squared, squared])
        best = np.argsort(every, kind="stable")[: self.k]
        self.slots = np.concatenate([self.slots, slots])[best]
        self.squared = every[best]


def compare_all(files: SlotFiles, slots: NDArray[np.int64], vector: Floats, k: int) -> Found:
    """Compare the whole vector of every used slot int64 `[N]`, with N at least k."""
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

        With `prove` the answer is exact, unless its `proven` says that the proof had to give up.

        Raises:
            DamagedError: a vector on the disk does not match its code in memory.

        """
        probe = self.table.probe(self.projection.codes(vector[np.newaxis]))
        chase = _Chase(self.table, self._files, vector, probe, k)
        promising = self.table.promising(probe, _PROMISING + _PROMISING_EACH * k)
        chase.follow(promising, most=_WHOLE + _WHOLE_EACH * k)
        nearest = chase.nearest
        is_short = len(nearest.slots) < k  # too many of the selected slots were empty
        if not (prove or is_short):
            return Found(nearest.squared, nearest.slots, proven=False)
        before = nearest.slots
        proven = self._prove(chase)
        changed = not np.array_equal(before, nearest.slots)
        return Found(nearest.squared, nearest.slots, proven, changed)

    def _prove(self, chase: "_Chase") -> bool:
        """Compare all that may be nearer than the k-th so far; False if those are too many."""
        bounds = self.table.first_bounds(chase.probe, self._buffer())
        bounds[chase.compared()] = np.inf
        left = np.flatnonzero(bounds <= chase.reach)
        proven = len(left) <= _BOUNDED
        if not proven:
            left = left[np.argpartition(bounds[left], _BOUNDED)[:_BOUNDED]]
        return chase.follow(left, most=_LIMIT + _WHOLE_EACH * chase.nearest.k) and proven

    def _buffer(self) -> Floats:
        """Return a buffer for the bounds of all slots, one per searching thread."""
        room: Floats | None = getattr(self._scratch, "room", None)
        if room is None or len(room) < self.table.slots:
            room = self._scratch.room = np.empty(self.table.slots, np.float32)
        return room


class _Chase:
    """The state of one search: what it has compared and found so far."""

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
        """Return the limit for bounds worth a look, less the probe's squared length."""
        return min(self.nearest.farthest - self.probe.norm + self._slack, EMPTY)

    def compared(self) -> NDArray[np.int64]:
        """Return the slots whose whole vectors were compared."""
        return np.concatenate(self._compared)

    def follow(self, slots: NDArray[np.int64], most: int) -> bool:
        """Compare slots in the order of their bounds, as long as they may be among the nearest.

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
            these = these[np.argsort(slots[these])]  # read neighbours on the disk together
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
