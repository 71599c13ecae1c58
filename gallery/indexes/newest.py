"""Recent writes to a server, kept in memory until the server is sure to show them.

A distributed server shows a write to its searchers some time after accepting it. Waiting for that
would be slow; so a search asks the server only for settled data, and covers the newest itself.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

KEPT_S = 20.0
"""Seconds for which a row is kept; several times a server's possible delay."""
MOST_BYTES = 8 * 1024 * 1024


class Newest:
    """Rows and vectors float32 `[L]` of the last seconds.

    Its owner may call `merged` and `is_whole` from several threads, but not during a change.
    """

    def __init__(self, length: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._length = length
        self._most = MOST_BYTES // (4 * length)
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Forget everything; anybody may have written anything else a moment ago."""
        self._rows = np.empty(0, np.int64)
        self._vectors = np.empty((0, self._length), np.float32)
        self._until = np.empty(0, np.float64)
        self._whole_from = self._clock() + KEPT_S

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_whole(self) -> bool:
        """Whether this holds everything that a server may not show yet."""
        return self._clock() >= self._whole_from

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Keep rows int64 `[N]` with vectors float32 `[N, L]`; if too many, forget everything."""
        now = self._clock()
        self._drop((self._until <= now) | np.isin(self._rows, rows))
        if len(self) + len(rows) > self._most:
            self.begin()
            return
        self._rows = np.concatenate([self._rows, rows])
        self._vectors = np.concatenate([self._vectors, vectors])
        self._until = np.concatenate([self._until, np.full(len(rows), now + KEPT_S)])

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forget rows int64 `[N]`; unknown rows are ignored."""
        self._drop(np.isin(self._rows, rows))

    def merged(
        self, vector: NDArray[np.float32], squared: Sequence[float], rows: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Merge the rows kept here with those that a server found near a vector float32 `[L]`.

        Returns:
            Squared distances float32 `[N]`, nearest first, and their rows int64 `[N]`.

        """
        found, distances = np.array(rows, np.int64), np.array(squared, np.float32)
        # Older rows must come from the server: adding them here would hide that it lost them.
        new = self._until > self._clock()
        elsewhere = ~np.isin(found, self._rows[new])
        ours = np.square(self._vectors[new] - vector).sum(axis=1)
        distances = np.concatenate([distances[elsewhere], ours])
        nearest = np.argsort(distances, kind="stable")
        return distances[nearest], np.concatenate([found[elsewhere], self._rows[new]])[nearest]

    def _drop(self, gone: NDArray[np.bool_]) -> None:
        if gone.any():
            self._rows, self._vectors = self._rows[~gone], self._vectors[~gone]
            self._until = self._until[~gone]
