"""Codes of a gallery in memory, by slot: they bound a probe's distance to every sample.

A code is cut in two. The head, its first and most telling numbers, is all that a proof reads of
every sample. The tail is read for the samples that the head could not rule out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.projection import Codes, Floats, Projection, squared_lengths
from gallery.indexes.sketch import Sketches

HEAD = 46
"""Numbers of the head; with a length left out and a squared length they fill three cache lines."""
BLOCK = 16_384
"""Slots that are reserved at a time, so that a growing gallery is never copied."""
# Squared length that an empty slot pretends to, so that nothing is near it.
_FAR = np.float32(1e30)
EMPTY = 1e29
"""Bounds from here on are those of empty slots."""


class Probe(NamedTuple):
    """A probe's code, cut as the samples' are, each with the length left out behind it."""

    head: Floats
    """float32 `[H + 2]`: head, what it leaves out, and 1 for the samples' squared lengths."""
    tail: Floats
    """float32 `[D - H + 1]`: tail, and what head and tail leave out."""
    norm: float
    code: Codes
    """The code as it was projected, `[1, D]`."""


class Bounds(NamedTuple):
    """What squared distances float32 `[N]` are at least and at most."""

    lowest: Floats
    highest: Floats


class CodeTable:
    """Codes by slot 0, 1, …, and sketches of them; an empty slot is far from every probe."""

    def __init__(self, projection: Projection) -> None:
        dimensions = len(projection.basis)
        self._sketches = Sketches(projection.levels)
        self._head_length = min(HEAD, dimensions)
        self._tail_length = dimensions - self._head_length
        self._heads: list[Floats] = []
        self._tails: list[Floats] = []
        self.longest = 0.0
        """The largest squared length that was ever put in."""

    @property
    def slots(self) -> int:
        """Slots that are reserved."""
        return BLOCK * len(self._heads)

    @property
    def memory_bytes(self) -> int:
        """Memory of all that is reserved."""
        codes = sum(part.nbytes for part in (*self._heads, *self._tails))
        return codes + self._sketches.memory_bytes

    def reserve(self, slots: int) -> None:
        """Make room for so many slots in all; the new ones are empty."""
        while self.slots < slots:
            head = np.zeros((BLOCK, self._head_length + 2), np.float32)
            head[:, -1] = _FAR
            self._heads.append(head)
            self._tails.append(np.zeros((BLOCK, self._tail_length + 1), np.float32))

    def put(self, slots: NDArray[np.int64], projected: Codes) -> None:
        """Fill slots int64 `[N]`, in rising order and reserved before."""
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
        """Find about `count` used slots that are nearest by their sketches."""
        return self._sketches.nearest(probe.code, count)

    def first_bounds(self, probe: Probe, out: Floats) -> Floats:
        """Bound the squared distance to every slot from below, by heads alone: float32 `[slots]`.

        The probe's own squared length is not added yet.
        """
        for number, head in enumerate(self._heads):
            np.dot(head, probe.head, out=out[number * BLOCK : (number + 1) * BLOCK])
        return out[: self.slots]

    def second_bounds(self, probe: Probe, slots: NDArray[np.int64]) -> Bounds:
        """Bound the squared distances to slots int64 `[N]` from both sides, by the whole codes.

        Here, too, the probe's own squared length is not added yet.
        """
        lowest = np.empty(len(slots), np.float32)
        left_out = np.empty(len(slots), np.float32)
        without_rest = probe.head.copy()
        without_rest[-2] = 0
        for block, places, inside in _by_block(slots):
            tails = self._tails[block][inside]
            lowest[places] = self._heads[block][inside] @ without_rest + tails @ probe.tail
            left_out[places] = tails[:, -1]
        # The tail of the probe ends with -2 × what it leaves out.
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
    """Group slots: the block, their places among those given, and their places in the block."""
    if not len(slots):
        return
    blocks, inside = np.divmod(slots, BLOCK)
    order = np.argsort(blocks, kind="stable")
    ends = np.flatnonzero(np.diff(blocks[order])) + 1
    for places in np.split(order, ends):
        yield int(blocks[places[0]]), places, inside[places]
