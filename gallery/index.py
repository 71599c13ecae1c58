"""A cache of the truth that searches fast.

`VectorIndex` is the seam at which engines are exchanged; `gallery.indexes` has the others. An index
knows rows (int64), their marks and vectors, and nothing else: no subjects, no store.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

# FAISS compares few queries one by one and many by a matrix product, and decides by queries ×
# length. At its own 128,000 as few as two queries of 8,192 numbers pay a whole scan each.
_BLAS_FROM = 40_000


class Held(NamedTuple):
    """What an index kept from an earlier run: rows int64 `[N]` and a mark int64 `[N]` of each.

    A mark is made from the sample's id, which is made from the walk: a row whose mark is another
    one than the store's belongs to another sample, for instance after an older backup came back.
    """

    rows: NDArray[np.int64]
    marks: NDArray[np.int64]

    @classmethod
    def nothing(cls) -> "Held":
        """Hold no row."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


class VectorIndex(Protocol):
    """Vectors float32 `[L]` by row number, searched by squared Euclidean distance.

    Its owner calls `search` from several threads, but never while anything else is called. Every
    method may raise IndexUnavailable; the owner then begins anew.
    """

    @property
    def kind(self) -> str:
        """Which engine it is, by the name that chooses it."""
        ...

    @property
    def state(self) -> str:
        """How it searches at present, for the person who reads it."""
        ...

    def __len__(self) -> int:
        """Count the rows."""
        ...

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Hold what was kept under this name, and forget all else; called before anything else.

        Args:
            name: of the generation; no other generation of any gallery has it. None: hold nothing,
                and keep nothing that this process alone could ever erase.
            retired: names of generations that answer no more, of which nothing may be kept.

        """
        ...

    def add(
        self, rows: NDArray[np.int64], vectors: NDArray[np.float32], marks: NDArray[np.int64]
    ) -> None:
        """Add rows int64 `[N]`, none there yet, with vectors float32 `[N, L]` and marks int64."""
        ...

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`, in files as well; those that are not there are ignored."""
        ...

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows, of at least `k`, nearest to a vector float32 `[L]`.

        Returns:
            Squared distances float32 `[k]`, nearest first, and their rows int64 `[k]`.

        """
        ...

    def close(self) -> None:
        """Keep what makes the next start quick, if this kind keeps anything, and let go."""
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
        """Hold nothing, whatever the name, and give the memory back."""
        self._faiss.reset()
        return Held.nothing()

    def add(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        marks: NDArray[np.int64] | None = None,
    ) -> None:
        """Add rows int64 `[N]` with their vectors float32 `[N, L]`; it needs no marks."""
        self._faiss.add_with_ids(vectors, rows)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`; those that are not there are ignored."""
        if len(rows):
            self._faiss.remove_ids(faiss.IDSelectorBatch(rows))

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`; see `VectorIndex.search`."""
        # The map's own search starts a team of threads to translate `k` numbers; their waiting
        # takes more processor time than the search in a gallery of thousands.
        squared, places = self._flat.search(vector[np.newaxis], k)
        rows = [self._faiss.id_map.at(int(place)) for place in places[0]]
        return squared[0], np.array(rows, np.int64)

    def close(self) -> None:
        """Give the memory back."""
        self._faiss.reset()
