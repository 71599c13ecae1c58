"""Searches a gallery for its own samples, as if each one were a probe; the basis of calibration.

In the mated search the sample itself is left out; in the non-mated one its whole subject is.
Distances are to subjects, by the gallery's own aggregation. The samples are streamed once, subject
by subject, so that memory holds only the probes and one block of the gallery, whatever its size.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from gallery.following import Chunk, chunks, chunks_of, roster
from gallery.generations import Head

_MOST_PROBES = 4096
_SAMPLES_OF_A_SUBJECT = 4
# Probes compared at a time: as float64, 32 MiB if embeddings have 8,192 numbers.
_PROBES_AT_ONCE = 512
# Of a product of float64 matrices, as a share of the squared lengths.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Searches:
    """The results for `n` probes: their subjects, and the distances to the nearest ones."""

    subjects: NDArray[np.int64]
    """`[n]`, numbered from 0."""
    own: NDArray[np.float64]
    """`[n]`, to the other samples of the same subject; infinite if it has none."""
    other: NDArray[np.float64]
    """`[n]`, to the nearest other subject; infinite if there is none."""
    gallery_subjects: int
    gallery_samples: int

    @property
    def independent(self) -> int:
        """Count the subjects: walks of one person resemble each other, so are one search."""
        return len(np.unique(self.subjects))

    @property
    def mated(self) -> NDArray[np.bool_]:
        """Tell which probes have another sample of their subject to find, `[n]`."""
        return np.isfinite(self.own)

    @property
    def found(self) -> NDArray[np.float64]:
        """Return the distances of the mated searches; infinite if another subject was nearer."""
        own, other = self.own[self.mated], self.other[self.mated]
        return np.where(own < other, own, np.inf)


def search_itself(connection: Connection, head: Head, samples_of_a_subject: int) -> Searches:
    """Search a generation for its own samples, at most 4 per subject and 4096 in total.

    Args:
        connection: a transaction; everything is read as of its moment.
        head: the generation.
        samples_of_a_subject: how many nearest samples a subject's distance is averaged over.

    """
    rows, names, sizes = _probe_rows(connection, head.generation)
    read = list(chunks_of(connection, head, rows))
    if not read:
        none = np.empty(0)
        return Searches(np.empty(0, np.int64), none, none, 0, 0)
    probes = np.concatenate([chunk.embeddings for chunk in read])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    subjects = np.array([numbers[name] for chunk in read for name in chunk.subjects], np.int64)
    found = _Nearest(probes, np.concatenate([chunk.rows for chunk in read]), subjects)
    streamed = chunks(connection, head.generation, head.model, by_subject=True)
    for chunk in whole_subjects(streamed):
        found.see(chunk, numbers, samples_of_a_subject)
    return Searches(subjects, found.own, found.other, *sizes)


def whole_subjects(streamed: Iterable[Chunk]) -> Iterator[Chunk]:
    """Re-cut chunks that are ordered by subject so that no subject is split between two."""
    kept: Chunk | None = None
    for new in streamed:
        chunk = new if kept is None else _joined(kept, new)
        last = chunk.subjects.index(chunk.subjects[-1])
        if last:
            yield _part(chunk, slice(0, last))
        kept = _part(chunk, slice(last, None))
    if kept is not None:
        yield kept


class _Nearest:
    """For each probe, the nearest distance seen so far to its own subject and to others."""

    def __init__(
        self,
        probes: NDArray[np.float32],
        rows: NDArray[np.int64],
        subjects: NDArray[np.int64],
    ) -> None:
        self._probes = probes
        self._rows = rows
        self._subjects = subjects
        self.own = np.full(len(probes), np.inf)
        self.other = np.full(len(probes), np.inf)

    def see(self, chunk: Chunk, numbers: dict[str, int], samples_of_a_subject: int) -> None:
        distances = self._distances(chunk)
        starts = _starts(chunk.subjects)
        for start, end in zip(starts, [*starts[1:], len(chunk.subjects)], strict=True):
            nearest = aggregate(distances[:, start:end], samples_of_a_subject)
            is_own = self._subjects == numbers.get(chunk.subjects[start], -1)
            self.own[is_own] = nearest[is_own]
            others = ~is_own
            self.other[others] = np.minimum(self.other[others], nearest[others])

    def _distances(self, chunk: Chunk) -> NDArray[np.float64]:
        """Return distances `[probes, samples]`, infinite between a sample and itself."""
        distances = np.empty((len(self._probes), len(chunk.rows)))
        vectors = chunk.embeddings.astype(np.float64)
        for start in range(0, len(distances), _PROBES_AT_ONCE):
            part = slice(start, start + _PROBES_AT_ONCE)
            distances[part] = distances_between(self._probes[part].astype(np.float64), vectors)
        distances[self._rows[:, None] == chunk.rows[None]] = np.inf
        return distances


def distances_between(
    probes: NDArray[np.float64], vectors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distances `[n, m]` of vectors `[n, L]` from vectors `[m, L]`.

    By a product of matrices, in which what embeddings have in common cancels out: in float32 it
    would take along the distance of those that have much in common.
    """
    squares = np.einsum("ij,ij->i", probes, probes)[:, None]
    squares = squares + np.einsum("ij,ij->i", vectors, vectors)[None]
    squared = squares - 2 * (probes @ vectors.T)
    # What rounding leaves between equal embeddings is no distance.
    squared[squared < _ROUNDING * squares] = 0
    distances: NDArray[np.float64] = np.sqrt(squared)
    return distances


def aggregate(distances: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the mean of the `count` smallest finite distances per row `[n, m]`, else infinity."""
    taken = min(count, distances.shape[1])
    smallest = np.partition(distances, taken - 1, axis=1)[:, :taken]
    there = np.isfinite(smallest)
    sums = np.where(there, smallest, 0).sum(axis=1)
    counts = there.sum(axis=1)
    means: NDArray[np.float64] = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return means


def _probe_rows(
    connection: Connection, generation: int
) -> tuple[list[int], list[str], tuple[int, int]]:
    """Choose the probes; return their rows, subjects' names, and the sizes (subjects, samples)."""
    of_subject: dict[str, list[int]] = {}
    for roll in roster(connection, generation):
        for row, name in zip(roll.rows.tolist(), roll.subjects, strict=True):
            of_subject.setdefault(name, []).append(row)
    sizes = len(of_subject), sum(map(len, of_subject.values()))
    names = sorted(of_subject)
    if len(names) > _MOST_PROBES:
        drawn = np.random.default_rng(7).choice(len(names), _MOST_PROBES, replace=False)
        names = [names[place] for place in sorted(drawn.tolist())]
    each = max(1, min(_SAMPLES_OF_A_SUBJECT, _MOST_PROBES // max(1, len(names))))
    rows = [row for name in names for row in _spread(of_subject[name], each)]
    return rows, names, sizes


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """Take `count` of the rows, evenly spread over the order of enrolment."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _starts(subjects: Sequence[str]) -> list[int]:
    return [at for at, name in enumerate(subjects) if at == 0 or subjects[at - 1] != name]


def _part(chunk: Chunk, part: slice) -> Chunk:
    return Chunk(
        chunk.rows[part], chunk.embeddings[part], chunk.subjects[part], chunk.sample_ids[part]
    )


def _joined(one: Chunk, other: Chunk) -> Chunk:
    return Chunk(
        np.concatenate([one.rows, other.rows]),
        np.concatenate([one.embeddings, other.embeddings]),
        [*one.subjects, *other.subjects],
        [*one.sample_ids, *other.sample_ids],
    )
