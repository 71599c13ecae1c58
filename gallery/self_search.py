"""Checks a generation before it goes live: embeddings are readable, and samples find themselves.

The embeddings are streamed once, so that memory holds only the probes and one block of the others.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gallery.errors import RebuildFailed, SampleDamaged
from gallery.following import Chunk, chunks, chunks_of, roster
from gallery.generations import Head
from gallery.store import Store

_CHECK_EVERY = 10
# In a larger gallery (beyond ten times this) only so many samples are looked up, evenly spread.
_MOST_CHECKED = 1024
# Tolerance for float32 rounding in a matrix product, as a share of the squared length.
_ROUNDING = 1e-5


def check_self_search(
    store: Store, head: Head, meanwhile: Callable[[], None] = lambda: None
) -> int:
    """Search for every tenth embedding of a generation among all; return how many were searched.

    Args:
        store: the gallery.
        head: the generation.
        meanwhile: called after every few hundred samples; raising from it ends the check.

    Raises:
        RebuildFailed: a sample is nearer to another one than to itself, an embedding cannot be
            read, or the number of embeddings read differs from the store's count.

    """
    try:
        return _check_self_search(store, head, meanwhile)
    except SampleDamaged as error:
        raise RebuildFailed(f"{error}: drop that generation and rebuild") from error


def _check_self_search(store: Store, head: Head, meanwhile: Callable[[], None]) -> int:
    with store.database.reading() as connection:
        rows = [row for roll in roster(connection, head.generation) for row in roll.rows.tolist()]
        every = max(_CHECK_EVERY, -(-len(rows) // _MOST_CHECKED))
        probes = list(chunks_of(connection, head, rows[::every]))
        search = _SelfSearch(probes, head.model.embedding_length)
        seen = 0
        for chunk in chunks(connection, head.generation, head.model):
            search.see(chunk)
            seen += len(chunk.rows)
            meanwhile()
        embedded = store.counts(connection, head.generation).embedded
    if seen != embedded:
        raise RebuildFailed(
            f"expected {embedded} embeddings in generation {head.generation}, got {seen}"
        )
    search.check()
    return len(rows[::every])


class _SelfSearch:
    """For each probe, the nearest sample seen so far, and its distance to itself."""

    def __init__(self, probes: list[Chunk], length: int) -> None:
        self._rows = np.concatenate([np.empty(0, np.int64), *(one.rows for one in probes)])
        vectors = [np.empty((0, length), np.float32), *(one.embeddings for one in probes)]
        self._probes = np.concatenate(vectors)
        self._squares = np.einsum("ij,ij->i", self._probes, self._probes)
        self._nearest = np.full(len(self._rows), np.inf)
        self._who = np.zeros(len(self._rows), np.int64)
        self._own = np.full(len(self._rows), np.inf)

    def see(self, chunk: Chunk) -> None:
        squared = self._squared(chunk.embeddings)
        places = squared.argmin(axis=1)
        nearest = squared[np.arange(len(squared)), places]
        nearer = nearest < self._nearest
        self._nearest[nearer], self._who[nearer] = nearest[nearer], chunk.rows[places[nearer]]
        probe, sample = np.nonzero(self._rows[:, None] == chunk.rows[None])
        self._own[probe] = squared[probe, sample]

    def check(self) -> None:
        lost = self._own > self._nearest + _ROUNDING * self._squares
        if lost.any():
            place = int(lost.argmax())
            raise RebuildFailed(
                f"expected sample row {self._rows[place]} to find itself, got row "
                f"{self._who[place]} nearer"
            )

    def _squared(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        squared: NDArray[np.float32] = self._squares[:, None] + lengths[None]
        squared -= 2 * (self._probes @ vectors.T)
        return squared
