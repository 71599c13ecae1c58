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

    def samples_of(self, subject: str) -> int:
        """How many samples a subject has; 0 for one that is not there."""
        return self._samples[subject]

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
    index: VectorIndex,
    owners: Owners,
    embedding: NDArray[np.float32],
    limit: int,
    samples_of_a_subject: int = 1,
) -> tuple[Candidate, ...]:
    """Find the `limit` subjects that are nearest to an embedding float32 `[L]`.

    A subject's distance is the mean of those of its `samples_of_a_subject` nearest samples, or of
    all when it has fewer. The search is widened until no subject that it has not seen whole could
    be nearer than those found; fewer come back only when the index holds no more.
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
    """Tell whether a search by an embedding float32 `[L]` returns any of some rows.

    Their own embedding would be the nearest of all, so a few results are enough to tell.
    """
    _squared, found = index.search(embedding, min(len(index), _NEAREST))
    return not set(rows).isdisjoint(found.tolist())


class _Near:
    """What one search tells of each subject: the distances of its nearest samples, in order."""

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
        # Equal distances are ordered by row, so that the same question has the same answer.
        for place in np.lexsort((rows, squared)):
            subject, sample_id = owners[int(rows[place])]
            self._farthest = math.sqrt(max(0.0, float(squared[place])))
            self._nearest.setdefault(subject, sample_id)
            seen = self._distances.setdefault(subject, [])
            if len(seen) < self._most:
                seen.append(self._farthest)

    def nearest(self, wanted: int) -> tuple[Candidate, ...]:
        """The subjects of which enough was seen, nearest first."""
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
        """Tell whether every other subject is at least so far: what is unseen is farther yet."""
        if len(self._distances) < self._owners.subjects and self._farthest < distance:
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
