"""The interface of search indexes, and the default index: exact search in memory.

An index is a cache of the store that searches fast. `VectorIndex` is the interface between the
gallery and its engines; the other engines are in `gallery.indexes`. An index knows rows (int64),
their marks and vectors, but no subjects and no store.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

# FAISS compares few queries one by one and many by a matrix product, deciding by queries × length.
# At its own limit of 128,000, as few as two queries of 8,192 numbers would each cost a whole scan.
_BLAS_FROM = 40_000


class Held(NamedTuple):
    """What an index kept from an earlier run: rows int64 `[N]`, and a mark int64 `[N]` for each.

    A mark is derived from the sample's id, which is derived from the walk. A row whose mark differs
    from the store's belongs to another sample, for instance after an older backup was restored.
    """

    rows: NDArray[np.int64]
    marks: NDArray[np.int64]

    @classmethod
    def nothing(cls) -> "Held":
        """Return an empty one."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


class VectorIndex(Protocol):
    """Vectors float32 `[L]` by row number, searched by squared Euclidean distance.

    Its owner may call `search` from several threads, but never while another method runs. Every
    method may raise IndexUnavailable; the owner then starts over with `begin`.
    """

    @property
    def kind(self) -> str:
        """Return the name by which this kind of index is chosen."""
        ...

    @property
    def state(self) -> str:
        """Return a human-readable description of how it currently searches."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Load what was kept under this name and drop all else; called before all other methods.

        Args:
            name: of the generation, unique across all galleries. None: hold nothing, and keep
                nothing that only this process could ever erase.
            retired: names of generations that no longer answer; nothing of them may be kept.

        """
        ...

    def add(
        self, rows: NDArray[np.int64], vectors: NDArray[np.float32], marks: NDArray[np.int64]
    ) -> None:
        """Add new rows int64 `[N]` with their vectors float32 `[N, L]` and marks int64 `[N]`."""
        ...

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`, from files too; unknown rows are ignored."""
        ...

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`; the index must hold at least `k`.

        Returns:
            Squared distances float32 `[k]`, nearest first, and their rows int64 `[k]`.

        """
        ...

    def close(self) -> None:
        """Keep what speeds up the next start, if this kind keeps anything, and release the rest."""
        ...


class ExactIndex:
    """FAISS flat L2: compares with every vector, so its answers are exact. Keeps nothing."""

    kind = "exact"
    state = "compares with every sample in memory"

    def __init__(self, length: int) -> None:
        faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM
        self._flat = faiss.IndexFlatL2(length)
        self._faiss = faiss.IndexIDMap2(self._flat)

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Empty the index and release its memory, whatever the name; nothing is ever kept."""
        self._faiss.reset()
        return Held.nothing()

    def add(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        marks: NDArray[np.int64] | None = None,
    ) -> None:
        """Add new rows int64 `[N]` with their vectors float32 `[N, L]`; marks are not needed."""
        self._faiss.add_with_ids(vectors, rows)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`; unknown rows are ignored."""
        if len(rows):
            self._faiss.remove_ids(faiss.IDSelectorBatch(rows))

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`; see `VectorIndex.search`."""
        # The ID map's own search starts a thread team to translate `k` numbers; in a gallery of
        # thousands, their waiting takes more processor time than the search itself.
        squared, places = self._flat.search(vector[np.newaxis], k)
        rows = [self._faiss.id_map.at(int(place)) for place in places[0]]
        return squared[0], np.array(rows, np.int64)

    def close(self) -> None:
        """Release the memory."""
        self._faiss.reset()
