"""The in-memory state that answers searches, kept in step with the store.

It consists of the index, the owners of its rows, the settings and the calibration. Before every
answer it is compared with the store's head, and catches up if this or another process has written.
A crash loses nothing, because a starting process catches up from an empty state.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from gallery.calibration import Calibration, read_calibration
from gallery.candidates import Owners, finds_any, nearest_subjects
from gallery.errors import IndexUnavailable, StoreUnavailable
from gallery.following import Damaged, news
from gallery.generations import Head, Model, require_model
from gallery.index import VectorIndex
from gallery.indexes.choose import IndexChoice, forget_others, open_index
from gallery.preparing import BY_SERVICE
from gallery.records import Candidate, GallerySize, GalleryStatus
from gallery.settings import GallerySettings, read_settings
from gallery.sharing import SharedLock
from gallery.starting import start_over
from gallery.store import Counts, Kept, Store

_LOG = logging.getLogger("metagait.gallery")


class Looked(NamedTuple):
    """What a search for erased samples found in the index."""

    indexed: int
    """How many of the rows are still in the index."""
    searches: int
    found: int
    """How many of the searches returned one of the rows."""


class Current:
    """An index for the embeddings of one model that follows a store; threads may share it."""

    # Locking order: `_following`, then a transaction, then `_searching`.

    def __init__(self, store: Store, model: Model, index: VectorIndex) -> None:
        self.model = model
        self._store = store
        self._index = index
        self._owners = Owners()
        self._damaged: Damaged = {}
        self._reported: set[int] = set()
        self._seen: Head | None = None
        self._settings = GallerySettings()
        self._calibration: Calibration | None = None
        self._counted: tuple[Head, Counts, Kept] | None = None
        self._following = Lock()
        self._searching = SharedLock()

    def close(self) -> None:
        """Close the index; the store stays open."""
        self._index.close()

    @property
    def generation(self) -> int:
        """Return the generation seen last; 0 before the first."""
        return 0 if (seen := self._seen) is None else seen.generation

    @property
    def settings(self) -> GallerySettings:
        """Return the settings seen last."""
        return self._settings

    @property
    def calibration(self) -> Calibration | None:
        """Return the calibration of the generation seen last; None if it has none."""
        return self._calibration

    def catch_up(self) -> None:
        """Apply every write that was acknowledged before this call."""
        head = self._store.head()
        if head != self._seen:
            if not head.generation:  # the gallery was deleted and created again meanwhile
                self._store.adopt(self.model)
            with self._following, self._store.database.reading() as connection:
                self._follow(connection)

    @contextmanager
    def still(self) -> Iterator[Head | None]:
        """Catch up, then hold the index still; yields the head that it agrees with, if any.

        Raises:
            ModelMismatch: another model's generation is live, and the index can no longer answer.

        """
        try:
            self.catch_up()
            with self._searching.shared():
                yield self._seen
        except IndexUnavailable:
            # Its contents are in doubt: the next request rebuilds it.
            self._seen = None
            # If another generation is live, its index may have deleted this one's external data.
            require_model(self._store.head(), self.model)
            raise

    @contextmanager
    def searchable(self) -> Iterator[Head]:
        """Hold the index still, provided that it can be searched for this model; yields its head.

        Raises:
            StoreUnavailable: the index could not follow the store.
            ModelMismatch: the gallery was embedded by another model.

        """
        with self.still() as seen:
            if seen is None:
                raise StoreUnavailable(
                    "expected an index that agrees with the store, got one that could not follow "
                    "it; the next request starts it over"
                )
            require_model(seen, self.model)
            yield seen

    def nearest(
        self, embedding: NDArray[np.float32], limit: int, samples_of_a_subject: int = 1
    ) -> tuple[Candidate, ...]:
        """Find the nearest subjects, see `nearest_subjects`; the caller holds the index still."""
        return nearest_subjects(self._index, self._owners, embedding, limit, samples_of_a_subject)

    def knows(self, subject: str) -> bool:
        """Tell whether a subject has an indexed sample; the caller holds the index still."""
        return self._owners.samples_of(subject) > 0

    def look_for(self, rows: Sequence[int], probes: NDArray[np.float32], generation: int) -> Looked:
        """Look for rows that should be gone, also by searches for their embeddings `[N, L]`.

        The embeddings, float32, are of `generation`; if another one answers, searching for them
        would prove nothing and is skipped.
        """
        searches, found = 0, 0
        with self._searching.shared():
            indexed = sum(row in self._owners for row in rows)
            if generation == self.generation and len(self._index):
                searches = len(probes)
                found = sum(finds_any(self._index, embedding, rows) for embedding in probes)
        return Looked(indexed, searches, found)

    def size(self) -> GallerySize:
        """Return how much a search can find, from memory if this model's generation is indexed.

        The index follows every numbered change of the store, so these are the counts of `status`,
        which is queried only if another model owns the gallery.
        """
        with self.still() as seen:
            if seen is not None and seen.model == self.model:
                return self.sized(seen)
        status = self.status()
        return GallerySize(status.name, status.generation, status.subjects, status.samples)

    def sized(self, head: Head) -> GallerySize:
        """Return how much a search at `head` can find; the caller holds the index still."""
        owners = self._owners
        return GallerySize(self._store.name, head.generation, owners.subjects, len(owners))

    def status(self) -> GalleryStatus:
        """Compare the index with the store, both as of the same moment.

        Rows are counted again only after a change, by whichever process.
        """
        self.catch_up()
        with self._following, self._store.database.reading() as connection:
            head = self._follow(connection)
            counts, kept = self._counted_at(connection, head)
            indexed, damaged = len(self._index), len(self._damaged)
        whole = counts.samples - damaged
        same_counts = counts.samples == counts.embedded and whole == indexed == len(self._owners)
        return GalleryStatus(
            name=self._store.name,
            generation=head.generation,
            model_id=head.model.model_id,
            embedding_length=head.model.embedding_length,
            subjects=counts.subjects,
            samples=counts.samples,
            indexed=indexed,
            damaged=damaged,
            index_kind=self._index.kind,
            index_state=self._index.state,
            in_sync=self._seen == head and head.model == self.model and same_counts,
            **kept._asdict(),
        )

    def _counted_at(self, connection: Connection, head: Head) -> tuple[Counts, Kept]:
        """Count once per change: counting slows down as the gallery grows, and anybody may ask."""
        if self._counted is None or self._counted[0] != head:
            counts = self._store.counts(connection, head.generation)
            self._counted = head, counts, self._store.kept(connection)
        return self._counted[1:]

    def _follow(self, connection: Connection) -> Head:
        """Bring the index to the state that the transaction sees; the caller holds `_following`."""
        gallery, damaged = self._store.gallery_id, self._damaged
        update = news(connection, gallery, self._seen, self.model, damaged)
        if update.head == self._seen:
            return update.head
        settings = read_settings(connection, gallery)
        calibration = read_calibration(connection, update.head.generation)
        with self._searching.alone():
            self._settings, self._calibration = settings, calibration
            # On a failure half-way the index counts as having seen nothing, and starts over.
            self._seen = None
            if update.starts_over:
                start_over(
                    connection,
                    gallery,
                    update.head,
                    self.model,
                    index=self._index,
                    owners=self._owners,
                    damaged=damaged,
                )
            self._index.remove(update.erased)
            self._owners.remove(update.erased)
            for row in update.erased.tolist():
                damaged.pop(row, None)
            for chunk in update.enrolled:
                self._index.add(chunk.rows, chunk.embeddings, chunk.marks)
                self._owners.add(chunk)
            self._seen = update.head
        self._tell_of_damaged()
        return update.head

    def _tell_of_damaged(self) -> None:
        """Warn once about each sample that searches cannot find, and say what can be done."""
        for row, error in self._damaged.items():
            if row not in self._reported:
                _LOG.warning(
                    "%s; no search finds it: erase that sample by its id and enrol its walk "
                    "again, or restore a backup",
                    error,
                )
        self._reported = set(self._damaged)


def opened_index(
    index: VectorIndex | IndexChoice | None, store: Store, model: Model
) -> tuple[VectorIndex, Callable[[], bool]]:
    """Return the given index, or open one of the chosen kind; the default is exact search by FAISS.

    The gallery's own setting `index_kind` takes precedence over the choice. Also returns a function
    that deletes what indexes of other kinds and models left behind, if an index was chosen here.

    Raises:
        EngineMissing: this kind of index cannot run here.
        IndexUnavailable: the index's folder or server cannot be used at the moment.

    """
    if not (index is None or isinstance(index, IndexChoice)):
        return index, _nothing_left
    choice, encrypted = _chosen(index, store), store.database.vault.master is not None
    opened = open_index(choice, store.name, *model, encrypted=encrypted)
    if index is None:  # no folder was named that could hold index files
        return opened, _nothing_left
    return opened, partial(forget_others, choice, store.name, model.model_id)


def _nothing_left() -> bool:
    return True


def _chosen(choice: IndexChoice | None, store: Store) -> IndexChoice:
    with store.database.reading() as connection:
        kind = read_settings(connection, store.gallery_id).index_kind
    choice = choice or IndexChoice()
    return choice if kind == BY_SERVICE else replace(choice, kind=kind)
