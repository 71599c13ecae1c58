"""The two ways to search a compact index: through the codes, and through every whole vector."""

from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.codes import EMPTY, CodeTable, Probe
from gallery.indexes.projection import Floats, Projection, squared_lengths
from gallery.indexes.slots import PAGE, DamagedError, SlotFiles

# Whole vectors compared at first, then so many at a time, and so many at most beyond 4 for each k.
_FIRST, _STEP, _LIMIT = 64, 64, 2000
# Samples whose bounds are reduced to one when the most promising are looked for.
_GROUP = 64
# Samples that are bounded by their whole codes at most.
_BOUNDED = 100_000
# What float32 rounding may do to a bound, as a share of the squared lengths that went into it.
_SLACK = 2e-5


class Found(NamedTuple):
    """The nearest slots, nearest first, float32 and int64 `[k]`; and whether that is proven."""

    squared: Floats
    slots: NDArray[np.int64]
    proven: bool


class Nearest:
    """The k nearest of what was compared so far."""

    def __init__(self, k: int) -> None:
        self._k = k
        self.squared = np.empty(0, np.float32)
        self.slots = np.empty(0, np.int64)

    @property
    def farthest(self) -> float:
        """Squared distance of the k-th; infinite while there are fewer."""
        return float(self.squared[-1]) if len(self.squared) == self._k else float("inf")

    def offer(self, squared: Floats, slots: NDArray[np.int64]) -> None:
        """Take in the squared distances of other slots."""
        every = np.concatenate([self.squared, squared])
        best = np.argsort(every, kind="stable")[: self._k]
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
    """Searches through the codes; its answers are exact unless it says that it had to stop."""

    def __init__(self, projection: Projection, table: CodeTable, files: SlotFiles) -> None:
        self.projection = projection
        self.table = table
        self._files = files
        self._scratch = local()

    def search(self, vector: Floats, k: int) -> Found:
        """Find the k nearest of more than k used slots to a vector float32 `[L]`.

        Raises:
            DamagedError: a vector on the disk is not the one whose code is in memory.

        """
        probe = self.table.probe(self.projection.codes(vector[np.newaxis]))
        # From here on squared distances are less the probe's own squared length.
        bounds = self.table.first_bounds(probe, self._room())
        slack = _SLACK * (probe.norm + self.table.longest)
        nearest = Nearest(k)
        promising = _promising(bounds, max(_FIRST, 2 * k))
        promising = promising[bounds[promising] < EMPTY]
        order = np.argsort(self.table.second_bounds(probe, promising))[: max(_FIRST // 2, k)]
        self._compare(promising[order], vector, probe, nearest, slack)
        bounds[promising[order]] = np.inf
        proven = self._rest(bounds, vector, probe, nearest, slack)
        return Found(nearest.squared, nearest.slots, proven)

    def _rest(
        self, bounds: Floats, vector: Floats, probe: Probe, nearest: Nearest, slack: float
    ) -> bool:
        """Compare with whoever may be nearer than the k-th so far; False where that is too many."""
        reach = min(nearest.farthest - probe.norm + slack, EMPTY)
        left = np.flatnonzero(bounds <= reach)
        proven = len(left) <= _BOUNDED
        if not proven:
            left = left[np.argpartition(bounds[left], _BOUNDED)[:_BOUNDED]]
        closer = self.table.second_bounds(probe, left)
        order = np.flatnonzero(closer <= reach)
        order = order[np.argsort(closer[order])]
        most = _LIMIT + 4 * len(nearest.slots)
        for start in range(0, len(order), _STEP):
            if closer[order[start]] > nearest.farthest - probe.norm + slack:
                return proven
            if start >= most:
                return False
            self._compare(left[order[start : start + _STEP]], vector, probe, nearest, slack)
        return proven

    def _compare(
        self,
        slots: NDArray[np.int64],
        vector: Floats,
        probe: Probe,
        nearest: Nearest,
        slack: float,
    ) -> None:
        slots = np.sort(slots)
        squared = _squared_distances(self._files, slots, vector)
        lowest = self.table.second_bounds(probe, slots) + np.float32(probe.norm)
        # The tail of the probe holds -2 × what it leaves out.
        highest = lowest - 2 * probe.tail[-1] * self.table.left_out(slots)
        if (squared < lowest - slack).any() or (squared > highest + slack).any():
            raise DamagedError("a vector on the disk is not the one that its code was made from")
        nearest.offer(squared, slots)

    def _room(self) -> Floats:
        """Room for a bound of every slot, one for each thread that searches."""
        room: Floats | None = getattr(self._scratch, "room", None)
        if room is None or len(room) < self.table.slots:
            room = self._scratch.room = np.empty(self.table.slots, np.float32)
        return room


def _promising(bounds: Floats, count: int) -> NDArray[np.int64]:
    """Find the `count` slots of the smallest bounds; partitioning them all would take longer."""
    groups = bounds.reshape(-1, _GROUP)
    smallest = groups.min(axis=1)
    count = min(count, len(smallest))
    best = np.argpartition(smallest, count - 1)[:count]
    slots = (best[:, np.newaxis] * _GROUP + np.arange(_GROUP)).ravel()
    chosen = np.argpartition(groups[best].ravel(), count - 1)[:count]
    return slots[chosen]


def _squared_distances(files: SlotFiles, slots: NDArray[np.int64], vector: Floats) -> Floats:
    return squared_lengths(files.vectors(slots) - vector)
