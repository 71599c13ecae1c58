"""From near samples to near subjects."""

import math
import sys
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.following import Chunk, Roll
from gallery.index import VectorIndex
from gallery.records import Candidate

# A search that found too few subjects is repeated with so many times more rows.
_WIDEN = 8
_NEAREST = 10


class Owner(NamedTuple):
    """Whose sample a row is, and which."""

    subject: str
    sample_id: str


class Owners:
    """Whose sample each row of an index is."""

    def __init__(self) -> None:
        self._owners: dict[int, Owner] = {}
        self._samples: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, row: int) -> bool:
        return row in self._owners

    def __getitem__(self, row: int) -> Owner:
        return self._owners[row]

    @property
    def subjects(self) -> int:
        """How many different subjects there are."""
        return len(self._samples)

    def add(self, these: Chunk | Roll) -> None:
        """Take in rows that are not there yet."""
        pairs = map(Owner, map(sys.intern, these.subjects), these.sample_ids)
        self._owners.update(zip(these.rows.tolist(), pairs, strict=True))
        self._samples.update(these.subjects)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forget rows; those that are not there are ignored."""
        for row in rows.tolist():
            owner = self._owners.pop(row, None)
            if owner is not None:
                self._samples[owner.subject] -= 1
        self._samples += Counter()  # drops the subjects that have none left

    def clear(self) -> None:
        """Forget every row."""
        self._owners.clear()
        self._samples.clear()


def nearest_subjects(
    index: VectorIndex, owners: Owners, embedding: NDArray[np.float32], limit: int
) -> tuple[Candidate, ...]:
    """Find the `limit` subjects whose nearest samples are nearest to an embedding float32 `[L]`.

    A subject with hundreds of near samples takes one place, so the search is widened until there
    are enough subjects; fewer come back only when the index holds no more.
    """
    wanted = min(limit, owners.subjects)
    if wanted == 0:
        return ()
    k = min(len(index), 2 * wanted)
    while True:
        squared, rows = index.search(embedding, k)
        found = _first_of_each_subject(owners, squared, rows, wanted)
        if len(found) == wanted or k == len(index):
            return found
        k = min(len(index), k * _WIDEN)


def finds_any(index: VectorIndex, embedding: NDArray[np.float32], rows: Collection[int]) -> bool:
    """Tell whether a search by an embedding float32 `[L]` returns any of some rows.

    Their own embedding would be the nearest of all, so a few results are enough to tell.
    """
    _squared, found = index.search(embedding, min(len(index), _NEAREST))
    return not set(rows).isdisjoint(found.tolist())


def _first_of_each_subject(
    owners: Owners, squared: NDArray[np.float32], rows: NDArray[np.int64], wanted: int
) -> tuple[Candidate, ...]:
    found: dict[str, Candidate] = {}
    # Equal distances are ordered by row, so that the same question has the same answer.
    for place in np.lexsort((rows, squared)):
        subject, sample_id = owners[int(rows[place])]
        if subject not in found:
            distance = math.sqrt(max(0.0, float(squared[place])))
            found[subject] = Candidate(len(found) + 1, subject, distance, sample_id)
        if len(found) == wanted:
            break
    return tuple(found.values())
