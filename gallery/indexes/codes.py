"""The codes of a gallery in memory, by slot: they bound a probe's distance to every sample.

A code is split in two. The head, its first and most significant numbers, is all that a proof reads
of every sample. The tail is read only for the samples that the head could not rule out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.projection import Codes, Floats, Projection, squared_lengths
from gallery.indexes.sketch import Sketches

HEAD = 46
"""Numbers in a head; with left-out and squared length they fill three cache lines."""
BLOCK = 16_384
"""Slots reserved at a time, so that a growing gallery is never copied."""
# Squared length assigned to an empty slot, so that no probe is near it.
_FAR = np.float32(1e30)
EMPTY = 1e29
"""Bounds from here on belong to empty slots."""


class Probe(NamedTuple):
    """A probe's code, split like the samples', each part followed by its left-out length."""

    head: Floats
    """float32 `[H + 2]`: head, its left-out length, and 1 for the samples' squared lengths."""
    tail: Floats
    """float32 `[D - H + 1]`: tail, and the length left out by head and tail."""
    norm: float
    code: Codes
    """The unsplit code, as projected, `[1, D]`."""


class Bounds(NamedTuple):
    """Lower and upper bounds of squared distances, float32 `[N]`."""

    lowest: Floats
    highest: Floats


class CodeTable:
    """Codes and their sketches by slot 0, 1, …; an empty slot is far from every probe."""

    def __init__(self, projection: Projection) -> None:
        dimensions = len(projection.basis)
        self._sketches = Sketches(projection.levels)
        self._head_length = min(HEAD, dimensions)
        self._tail_length = dimensions - self._head_length
        self._heads: list[Floats] = []
        self._tails: list[Floats] = []
        self.longest = 0.0
        """The largest squared length ever stored."""

    @property
    def slots(self) -> int:
        """Return the number of reserved slots."""
        return BLOCK * len(self._heads)

    @property
    def memory_bytes(self) -> int:
        """Return the memory of everything reserved, in bytes."""
        codes = sum(part.nbytes for part in (*self._heads, *self._tails))
        return codes + self._sketches.memory_bytes

    def reserve(self, slots: int) -> None:
        """Reserve this many slots in total; new ones are empty."""
        while self.slots < slots:
            head = np.zeros((BLOCK, self._head_length + 2), np.float32)
            head[:, -1] = _FAR
            self._heads.append(head)
            self._tails.append(np.zeros((BLOCK, self._tail_length + 1), np.float32))

    def put(self, slots: NDArray[np.int64], projected: Codes) -> None:
        """Fill slots int64 `[N]`, reserved before and in ascending order."""
        self._sketches.put(slots, projected)
        heads, tails = self._cut(projected)
        self.longest = max(self.longest, float(projected.norms.max(initial=0)))
        for block, places, inside in _by_block(slots):
            self._heads[block][inside] = heads[places]
            self._tails[block][inside] = tails[places]

    def drop(self, slots: NDArray[np.int64]) -> None:
        """Empty slots int64 `[N]`."""
        self._sketches.drop(slots)
        for block, _, inside in _by_block(slots):
            self._heads[block][inside, :-1] = 0
            self._heads[block][inside, -1] = _FAR
            self._tails[block][inside] = 0

    def probe(self, projected: Codes) -> Probe:
        """Prepare a probe, projected as `[1, D]`."""
        heads, tails = self._cut(projected)
        head, norm = heads[0].copy(), float(heads[0, -1])
        head[:-1] *= -2
        head[-1] = 1
        return Probe(head, tails[0] * np.float32(-2), norm, projected)

    def promising(self, probe: Probe, count: int) -> NDArray[np.int64]:
        """Return about `count` used slots that are nearest by their sketches."""
        return self._sketches.nearest(probe.code, count)

    def first_bounds(self, probe: Probe, out: Floats) -> Floats:
        """Return lower bounds of the squared distances to all slots, by heads alone: `[slots]`.

        The probe's own squared length is not yet added.
        """
        for number, head in enumerate(self._heads):
            np.dot(head, probe.head, out=out[number * BLOCK : (number + 1) * BLOCK])
        return out[: self.slots]

    def second_bounds(self, probe: Probe, slots: NDArray[np.int64]) -> Bounds:
        """Bound the squared distances to slots int64 `[N]` from both sides, by the whole codes.

        The probe's own squared length is not yet added here either.
        """
        lowest = np.empty(len(slots), np.float32)
        left_out = np.empty(len(slots), np.float32)
        without_rest = probe.head.copy()
        without_rest[-2] = 0
        for block, places, inside in _by_block(slots):
            tails = self._tails[block][inside]
            lowest[places] = self._heads[block][inside] @ without_rest + tails @ probe.tail
            left_out[places] = tails[:, -1]
        # The last number of the probe's tail is -2 × its left-out length.
        return Bounds(lowest, lowest - 2 * probe.tail[-1] * left_out)

    def _cut(self, projected: Codes) -> tuple[Floats, Floats]:
        codes, norms = projected
        head, tail = codes[:, : self._head_length], codes[:, self._head_length :]
        beyond_head = np.maximum(norms - squared_lengths(head), 0)
        beyond_tail = np.maximum(beyond_head - squared_lengths(tail), 0)
        return (
            np.column_stack([head, np.sqrt(beyond_head), norms]),
            np.column_stack([tail, np.sqrt(beyond_tail)]),
        )


def _by_block(
    slots: NDArray[np.int64],
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Group slots: yields a block, positions among the given slots, and positions in the block."""
    if not len(slots):
        return
    blocks, inside = np.divmod(slots, BLOCK)
    order = np.argsort(blocks, kind="stable")
    ends = np.flatnonzero(np.diff(blocks[order])) + 1
    for places in np.split(order, ends):
        yield int(blocks[places[0]]), places, inside[places]
