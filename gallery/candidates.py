"""Turn the nearest samples, as an index returns them, into the nearest subjects."""

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

# A search that found too few subjects is repeated with this many times more rows.
_WIDEN = 8
_NEAREST = 10


class Owner(NamedTuple):
    """The subject and the sample that an index row belongs to."""

    subject: str
    sample_id: str


class Owners:
    """Maps each row of an index to its owner."""

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
        """Return the number of distinct subjects."""
        return len(self._samples)

    def samples_of(self, subject: str) -> int:
        """Return how many samples a subject has; 0 for an unknown subject."""
        return self._samples[subject]

    def add(self, these: Chunk | Roll) -> None:
        """Add rows that are not present yet."""
        pairs = map(Owner, map(sys.intern, these.subjects), these.sample_ids)
        self._owners.update(zip(these.rows.tolist(), pairs, strict=True))
        self._samples.update(these.subjects)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows; unknown ones are ignored."""
        for row in rows.tolist():
            owner = self._owners.pop(row, None)
            if owner is not None:
                self._samples[owner.subject] -= 1
        self._samples += Counter()  # drops subjects without samples

    def clear(self) -> None:
        """Remove every row."""
        self._owners.clear()
        self._samples.clear()


def nearest_subjects(
    index: VectorIndex,
    owners: Owners,
    embedding: NDArray[np.float32],
    limit: int,
    samples_of_a_subject: int = 1,
) -> tuple[Candidate, ...]:
    """Return the `limit` subjects nearest to an embedding float32 `[L]`, nearest first.

    A subject's distance is the mean over its `samples_of_a_subject` nearest samples, or over all of
    them if it has fewer. The search is widened until no subject whose samples were not all seen
    could be nearer than those found; fewer than `limit` mean that the index holds no more.
    """
    wanted = min(limit, owners.subjects)
    if wanted == 0:
        return ()
    k = min(len(index), 2 * wanted * samples_of_a_subject)
    while True:
        squared, rows = index.search(embedding, k)
        near = _Near(owners, squared, rows, samples_of_a_subject)
        found = near.nearest(wanted)
        if k == len(index) or (len(found) == wanted and near.rules_out_others(found[-1].distance)):
            return found
        k = min(len(index), k * _WIDEN)


def finds_any(index: VectorIndex, embedding: NDArray[np.float32], rows: Collection[int]) -> bool:
    """Tell whether a search by an embedding float32 `[L]` returns any of the given rows.

    Their own embedding would be the nearest of all, so looking at a few results is enough.
    """
    _squared, found = index.search(embedding, min(len(index), _NEAREST))
    return not set(rows).isdisjoint(found.tolist())


class _Near:
    """The subjects found by one search, each with the distances of its nearest samples in order."""

    def __init__(
        self,
        owners: Owners,
        squared: NDArray[np.float32],
        rows: NDArray[np.int64],
        samples_of_a_subject: int,
    ) -> None:
        self._owners = owners
        self._most = samples_of_a_subject
        self._distances: dict[str, list[float]] = {}
        self._nearest: dict[str, str] = {}
        self._farthest = 0.0
        # Break ties by row, so that the same question always gets the same answer.
        for place in np.lexsort((rows, squared)):
            subject, sample_id = owners[int(rows[place])]
            self._farthest = math.sqrt(max(0.0, float(squared[place])))
            self._nearest.setdefault(subject, sample_id)
            seen = self._distances.setdefault(subject, [])
            if len(seen) < self._most:
                seen.append(self._farthest)

    def nearest(self, wanted: int) -> tuple[Candidate, ...]:
        """Return up to `wanted` subjects whose distance is final, nearest first."""
        whole = [
            (sum(seen) / len(seen), subject)
            for subject, seen in self._distances.items()
            if len(seen) == self._needed(subject)
        ]
        whole.sort(key=lambda one: one[0])
        return tuple(
            Candidate(rank, subject, distance, self._nearest[subject])
            for rank, (distance, subject) in enumerate(whole[:wanted], start=1)
        )

    def rules_out_others(self, distance: float) -> bool:
        """Tell whether no other subject can be as near as `distance`.

        Unseen rows are as far as the farthest seen, at least. If they are as near as the last
        candidate, a longer search has to tell who comes first.
        """
        if len(self._distances) < self._owners.subjects and self._farthest <= distance:
            return False
        return all(
            self._least(subject, seen) >= distance
            for subject, seen in self._distances.items()
            if len(seen) < self._needed(subject)
        )

    def _needed(self, subject: str) -> int:
        return min(self._most, self._owners.samples_of(subject))

    def _least(self, subject: str, seen: list[float]) -> float:
        needed = self._needed(subject)
        return (sum(seen) + (needed - len(seen)) * self._farthest) / needed
