"""Search a large gallery with about a kilobyte of memory per sample.

Vectors stay on the disk; memory holds their codes (see `projection`) and the codes' sketches (see
`sketch`). `cascade` describes how a search works and how its answers are verified.
"""

import logging
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.errors import IndexUnavailable
from gallery.index import Held
from gallery.indexes.cascade import Cascade, Found, compare_all
from gallery.indexes.codes import CodeTable
from gallery.indexes.folder import Folder, Manifest
from gallery.indexes.projection import Codes, Floats, Projection
from gallery.indexes.slots import DamagedError, SlotFiles
from gallery.indexes.training import Refused, Trainer

DIMENSIONS = 256
"""Numbers in a code; with the shipped model's embeddings they keep 98 % of the variance."""
ENOUGH = 0.8
"""Share of the variance below which a projection is refused."""
PROVEN_UP_TO = 65_536
"""Up to so many samples every answer is proven; beyond, proof takes longer than the search."""
CHECKED_EVERY = 64
"""Beyond that, one in so many searches is proven, to know how often answers are right."""
FIRST_AT = 4096
"""With fewer samples, every vector is compared, which is quick then."""
# A search for more than one in so many of all samples compares every vector.
_EVERYBODY = 4
# Files are synced after this many additions, and on closing.
_SYNC_EVERY = 16_384
_LOG = logging.getLogger("metagait.gallery")


class Proofs(NamedTuple):
    """How many searches were answered and how many proven, and how many proofs changed nothing."""

    searches: int = 0
    proven: int = 0
    confirmed: int = 0


class CompactIndex:
    """A `VectorIndex` over a folder that only this process may use."""

    kind = "compact"

    def __init__(
        self,
        length: int,
        folder: Path,
        *,
        dimensions: int = DIMENSIONS,
        first_at: int = FIRST_AT,
        enough: float = ENOUGH,
        executor: Executor | None = None,
    ) -> None:
        self._dimensions = min(dimensions, length)
        self._length = length
        self._executor = ThreadPoolExecutor(1, "index") if executor is None else executor
        self._trainer = Trainer(
            self._dimensions, first_at=first_at, enough=enough, executor=self._executor
        )
        self._folder = Folder(folder)
        self._counting = Lock()
        self._files: SlotFiles | None = None
        self._forget()
        self.proofs = Proofs()

    def _forget(self) -> None:
        self._trainer.stop()
        self._trainer.note_last(0)
        if self._files is not None:
            self._files.close()
        self._files = None
        self._rows = np.empty(0, np.int64)  # by slot; -1 means empty
        self._end = 0  # slots from here on were never used
        self._free: list[int] = []
        self._count = 0
        self._unsynced = 0
        self._cascade: Cascade | None = None
        self._refused: Refused | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def memory_bytes(self) -> int:
        """Return the memory of the codes and rows, in bytes."""
        codes = 0 if self._cascade is None else self._cascade.table.memory_bytes
        return codes + self._rows.nbytes

    @property
    def state(self) -> str:
        """Describe how it searches now."""
        if self._cascade is not None:
            kept, proofs = self._cascade.projection.kept, self.proofs
            return (
                f"codes of {self._dimensions} numbers keep {100 * kept:.1f} % of the spread; "
                f"{proofs.proven} of {proofs.searches} answers proven exact, which changed "
                f"{proofs.proven - proofs.confirmed}"
            )
        if self._refused is not None:
            return (
                f"compares with every sample on the disk: codes of {self._dimensions} numbers "
                f"would keep {100 * self._refused.kept:.0f} % of the spread, which is too little"
            )
        return "compares with every sample on the disk while there are few"

    def begin(self, name: str | None, retired: Collection[str] = ()) -> Held:
        """Load what the folder keeps under this name; anything doubtful is deleted."""
        with self._in_our_words():
            self._forget()
            if name is None:
                self._folder.empty()
                return Held.nothing()
            wanted = Manifest(name, self._length, self._dimensions)
            found = self._folder.manifest()
            if found is not None and found._replace(version=0, synced=0) == wanted:
                try:
                    return self._load(found)
                except DamagedError as damage:
                    _LOG.warning("the compact index is filled from the store again: %s", damage)
                    self._forget()
            self._folder.empty()
            self._files = SlotFiles(self._folder, wanted, self._length, self._dimensions)
            self._files.sync()
            return Held.nothing()

    def add(self, rows: NDArray[np.int64], vectors: Floats, marks: NDArray[np.int64]) -> None:
        """Add rows int64 `[N]` with their vectors float32 `[N, L]`; see `VectorIndex.add`."""
        files = self._opened()
        with self._in_our_words():
            self._take_over(files)
            slots = self._take_slots(len(rows))
            projected = Codes.none(len(rows), self._dimensions)
            if self._cascade is not None:
                projected = self._cascade.projection.codes(vectors)
                self._cascade.table.reserve(self._end)
                self._cascade.table.put(slots, projected)
            files.put(slots, rows, marks, vectors, projected)
            self._rows[slots] = rows
            self._count += len(rows)
            self._trainer.note_touched(slots)
            self._keep_up(files, len(rows))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove rows int64 `[N]` and overwrite them on the disk."""
        slots = np.flatnonzero(np.isin(self._rows, rows))
        if not len(slots):
            return
        files = self._opened()
        with self._in_our_words():
            files.drop(slots)
            self._trainer.drop(slots)
            if self._cascade is not None:
                self._cascade.table.drop(slots)
            self._rows[slots] = -1
            self._free += slots.tolist()
            self._count -= len(slots)
            self._trainer.note_touched(slots)
            self._take_over(files)

    def search(self, vector: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        """Find the `k` rows nearest to a vector float32 `[L]`; see `VectorIndex.search`."""
        files = self._opened()
        with self._in_our_words():
            found = self._found(files, vector, k)
        with self._counting:
            searches, proven, confirmed = self.proofs
            confirmed += found.proven and not found.changed
            self.proofs = Proofs(searches + 1, proven + found.proven, confirmed)
        return found.squared, self._rows[found.slots]

    def close(self) -> None:
        """Sync everything to the disk, so that the next start is quick, and release the folder."""
        try:
            if self._files is not None:
                with self._in_our_words():
                    self._take_over(self._files)
                    self._trainer.stop()
                    self._files.sync()
            self._forget()
        finally:
            self._executor.shutdown()
            self._folder.close()

    def _found(self, files: SlotFiles, vector: Floats, k: int) -> Found:
        if self._cascade is None or k * _EVERYBODY > self._count:
            return compare_all(files, self._used(), vector, k)
        is_checked = self._count <= PROVEN_UP_TO or self.proofs.searches % CHECKED_EVERY == 0
        return self._cascade.search(vector, k, prove=is_checked)

    def _used(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._rows >= 0)

    def _take_slots(self, count: int) -> NDArray[np.int64]:
        """Return empty slots in ascending order, new ones at the end if there are too few."""
        reused = sorted(self._free[:count])
        del self._free[:count]
        start = self._end
        self._end += count - len(reused)
        missing = self._end - len(self._rows)
        if missing > 0:
            more = max(missing, len(self._rows) // 2)
            self._rows = np.concatenate([self._rows, np.full(more, -1, np.int64)])
        return np.array([*reused, *range(start, self._end)], np.int64)

    def _keep_up(self, files: SlotFiles, added: int) -> None:
        """Sync now and then, and start training when it is due."""
        self._unsynced += added
        if self._unsynced >= _SYNC_EVERY:
            files.sync()
            self._unsynced = 0
        if self._trainer.is_due(self._count):
            self._trainer.begin(files, self._used())
            self._take_over(files)

    def _take_over(self, files: SlotFiles) -> None:
        """Switch to a newly trained projection, if one is finished."""
        finished = self._trainer.result()
        if finished is None:
            return
        found, touched = finished
        if isinstance(found, Refused):
            self._refused = found
            self._trainer.note_last(found.trained_at)
            return
        table, recoding = found.table, found.recoding
        table.reserve(self._end)
        filled = touched[self._rows[touched] >= 0]
        emptied = touched[self._rows[touched] < 0]
        table.put(filled, recoding.put(filled))
        table.drop(emptied)
        recoding.drop(emptied)
        files.adopt(recoding)
        self._use(found.projection, table, files)

    def _use(self, projection: Projection, table: CodeTable, files: SlotFiles) -> None:
        self._cascade = Cascade(projection, table, files)
        self._refused = None
        self._trainer.note_last(projection.trained_at)

    def _load(self, manifest: Manifest) -> Held:
        self._folder.tidy(manifest)
        self._files = files = SlotFiles(self._folder, manifest, self._length, self._dimensions)
        projection = files.projection()
        self._end = files.slots
        self._rows = np.full(self._end, -1, np.int64)
        marks = np.zeros(self._end, np.int64)
        if projection is not None:
            self._use(projection, CodeTable(projection), files)
        for stored in files.stored():
            self._rows[stored.slots], marks[stored.slots] = stored.rows, stored.marks
            if self._cascade is not None:
                self._cascade.table.reserve(self._end)
                self._cascade.table.put(stored.slots, stored.projected)
        used, unused = self._used(), np.flatnonzero(self._rows < 0)
        files.clear(unused)
        self._count, self._free = len(used), unused.tolist()
        if len(np.unique(self._rows[used])) != len(used):
            raise DamagedError("a row stands in two slots")
        return Held(self._rows[used], marks[used])

    def _opened(self) -> SlotFiles:
        if self._files is None:
            raise IndexUnavailable("expected an index that has begun, got one that could not")
        return self._files

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except DamagedError as error:
            self._folder.doubt()
            raise IndexUnavailable(
                f"expected an index that is as it was written, got: {error}; it is filled again"
            ) from error
        except OSError as error:
            raise IndexUnavailable(
                f"expected index files that can be read and written, got: {error.strerror}"
            ) from error
