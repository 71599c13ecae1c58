"""A cache of the truth that searches fast.

`VectorIndex` is the seam at which engines are exchanged. An index knows rows (int64) and vectors
and nothing else: no subjects, no files, no store.
"""

from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray


class VectorIndex(Protocol):
    """Vectors float32 `[L]` by row number, searched by squared Euclidean distance.

    Its owner calls `search` from several threads, but never while anything else is called.
    """

    def __len__(self) -> int:
        """Count the rows."""
        ...

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows int64 `[N]`, none of them there yet, with their vectors float32 `[N, L]`."""
        ...

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`; those that are not there are ignored."""
        ...

    def clear(self) -> None:
        """Remove every row."""
        ...

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows, of at least `k`, nearest to a vector float32 `[L]`.

        Returns:
            Squared distances float32 `[k]`, nearest first, and their rows int64 `[k]`.

        """
        ...


class ExactIndex:
    """FAISS flat L2: compares with every vector, so its answers are exact."""

    def __init__(self, length: int) -> None:
        self._faiss = faiss.IndexIDMap2(faiss.IndexFlatL2(length))

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows int64 `[N]` with their vectors float32 `[N, L]`."""
        self._faiss.add_with_ids(vectors, rows)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`; those that are not there are ignored."""
        if len(rows):
            self._faiss.remove_ids(faiss.IDSelectorBatch(rows))

    def clear(self) -> None:
        """Remove every row and give the memory back."""
        self._faiss.reset()

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`; see `VectorIndex.search`."""
        squared, rows = self._faiss.search(vector[np.newaxis], k)
        return squared[0], rows[0]
