"""Sketches of a gallery in memory, by slot: they pick promising samples, at 4 bits per number.

A sketch rounds the first numbers of a code, and the length of the part they leave out, to 16 levels
each. FAISS compares a probe with 32 sketches at once, using tables that stay in the processor's
registers (FastScan; André, Kermarrec, Le Scouarnec 2017). The resulting distances are estimates,
not bounds.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from gallery.indexes.projection import Codes, Floats, squared_lengths

NUMBERS = 64
"""Maximum numbers in a sketch; the sums of many more would overflow FastScan's 16 bits."""
_BITS = 4


class Sketches:
    """Sketches by slot 0, 1, …, at levels float32 `[numbers, 16]`; empty ones are far away."""

    def __init__(self, levels: Floats) -> None:
        self._index = _untrained(len(levels))
        faiss.copy_array_to_vector(levels.ravel(), self._index.pq.centroids)
        self._index.is_trained = True
        self._packer = self._index.get_CodePacker()
        # Below the lowest level of each number, so rounded to that level: far from every sample.
        self._corner = 2 * levels.min(axis=1) - levels.max(axis=1) - 1

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def memory_bytes(self) -> int:
        """Return the memory of the sketches, in bytes."""
        return int(self._index.codes.size())

    def put(self, slots: NDArray[np.int64], projected: Codes) -> None:
        """Fill slots int64 `[N]`, in ascending order; skipped ones become empty."""
        numbers = _cut(projected, self._index.d)
        known = int(np.searchsorted(slots, len(self)))
        self._overwrite(slots[:known], numbers[:known])
        if known == len(slots):
            return
        start = len(self)
        added = np.tile(self._corner, (int(slots[-1]) + 1 - start, 1))
        added[slots[known:] - start] = numbers[known:]
        self._index.add(added)

    def drop(self, slots: NDArray[np.int64]) -> None:
        """Empty slots int64 `[N]`."""
        there = slots[slots < len(self)]
        self._overwrite(there, np.tile(self._corner, (len(there), 1)))

    def nearest(self, projected: Codes, count: int) -> NDArray[np.int64]:
        """Return the `count` slots, or all, whose sketches are nearest to a probe `[1, D]`."""
        numbers = _cut(projected, self._index.d)
        # The left-out parts of probe and sample are nearly orthogonal: its length adds a constant.
        numbers[:, -1] = 0
        slots: NDArray[np.int64] = self._index.search(numbers, min(count, len(self)))[1][0]
        return slots[slots >= 0]

    def _overwrite(self, slots: NDArray[np.int64], numbers: Floats) -> None:
        if not len(slots):
            return
        codes = self._index.pq.compute_codes(np.ascontiguousarray(numbers))
        packed = self._index.codes
        blocks = faiss.rev_swig_ptr(packed.data(), packed.size())
        blocks = blocks.reshape(-1, self._packer.block_size)
        for slot, code in zip(slots.tolist(), codes, strict=True):
            self._packer.pack_1(code, slot, blocks)


def levels_of(projected: Codes) -> Floats:
    """Choose the levels float32 `[numbers, 16]` by k-means on each number of at least 16 codes."""
    numbers = _cut(projected, min(NUMBERS, projected.codes.shape[1] + 1))
    index = _untrained(numbers.shape[1])
    index.pq.cp.min_points_per_centroid = 1
    index.train(numbers)
    levels: Floats = faiss.vector_to_array(index.pq.centroids)
    return levels.reshape(-1, 1 << _BITS)


def _untrained(numbers: int) -> Any:
    return faiss.IndexPQFastScan(numbers, numbers, _BITS)


def _cut(projected: Codes, numbers: int) -> Floats:
    """Shorten codes to `numbers` columns; the last is the length that the others leave out."""
    head = projected.codes[:, : numbers - 1]
    beyond = np.sqrt(np.maximum(projected.norms - squared_lengths(head), 0))
    return np.column_stack([head, beyond])
