"""The index kind `gpu`: FAISS flat L2 in half precision, comparing every vector in GPU memory."""

from collections.abc import Callable, Collection
from threading import Lock
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from gallery.errors import EngineMissing
from gallery.index import Held

# FAISS on a GPU returns at most this many results.
_MOST = 2048
# Removed rows that may stay as gaps before the rest is compacted.
_GAPS = 256
_PAGE = 4096


def flat_on_gpu(length: int) -> Any:
    """Create an empty flat float16 index on the first GPU.

    Raises:
        EngineMissing: there is no GPU, or FAISS was built without GPU support.

    """
    if not hasattr(faiss, "StandardGpuResources"):
        raise EngineMissing(
            "expected a FAISS with GPU support for the index kind gpu, got one without; the extra "
            "'gpu' installs it"
        )
    if faiss.get_num_gpus() == 0:
        raise EngineMissing("expected a GPU for the index kind gpu, got none")
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = True
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), length, config)


class GpuIndex:
    """A `VectorIndex` over flat indexes created by `make`, which can add but not remove."""

    kind = "gpu"
    state = "compares with every sample in the GPU's memory, in half precision"

    def __init__(self, length: int, make: Callable[[int], Any] = flat_on_gpu) -> None:
        self._length = length
        self._make = make
        self._flat = make(length)
        self._rows = np.empty(0, np.int64)  # by place; -1 is a gap
        # A GPU's resources may be used by only one thread at a time.
        self._turn = Lock()

    def __len__(self) -> int:
        return int(np.count_nonzero(self._rows >= 0))

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Empty the index and release its memory, whatever the name; nothing is ever kept."""
        self._flat = self._make(self._length)
        self._rows = np.empty(0, np.int64)
        return Held.nothing()

    def add(
        self,
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
        marks: NDArray[np.int64] | None = None,
    ) -> None:
        """Add new rows int64 `[N]` with their vectors float32 `[N, L]`; marks are not needed."""
        self._flat.add(np.ascontiguousarray(vectors))
        self._rows = np.concatenate([self._rows, rows])

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]`; unknown rows are ignored."""
        self._rows[np.isin(self._rows, rows)] = -1
        if np.count_nonzero(self._rows < 0) > _GAPS:
            self._close_gaps()

    def search(
        self, vector: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`; see `VectorIndex.search`."""
        gaps = int(np.count_nonzero(self._rows < 0))
        with self._turn:
            if k + gaps > _MOST:
                squared, places = self._everybody(vector)
            else:
                found = self._flat.search(vector[np.newaxis], k + gaps)
                squared, places = found[0][0], found[1][0]
        rows = self._rows[places]
        filled = np.flatnonzero(rows >= 0)[:k]
        return squared[filled], rows[filled]

    def close(self) -> None:
        """Release the memory."""
        self._flat.reset()
        self._rows = np.empty(0, np.int64)

    def _close_gaps(self) -> None:
        former, self._flat = self._flat, self._make(self._length)
        for start in range(0, len(self._rows), _PAGE):
            filled = self._rows[start : start + _PAGE] >= 0
            page = former.reconstruct_n(start, len(filled))
            self._flat.add(np.ascontiguousarray(page[filled]))
        self._rows = self._rows[self._rows >= 0]

    def _everybody(
        self, vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Compare every vector, in pages that fit into memory; return all places in order."""
        squared = np.empty(len(self._rows), np.float32)
        for start in range(0, len(squared), _PAGE):
            page = self._flat.reconstruct_n(start, min(_PAGE, len(squared) - start)) - vector
            squared[start : start + _PAGE] = np.einsum("nl,nl->n", page, page)
        order = np.argsort(squared, kind="stable")
        return squared[order], order
