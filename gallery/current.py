"""What answers: the index, its rows' owners, settings and calibration, kept as the store has them.

Before every answer they are compared with the store's head, and catch up when this process or
another one has written. A crash in between loses nothing, because a start follows from nothing.
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
    """What a look for erased samples found in the index."""

    indexed: int
    """Rows that are indexed still."""
    searches: int
    found: int
    """Searches that returned one of the rows."""


class Current:
    """An index for the embeddings of one model that follows a store; threads may share it."""

    # Locks are taken in this order: `_following`, a transaction, `_searching`.

    def __init__(self, store: Store, model: Model, index: VectorIndex) -> None:
        self.model = model
        self._store = store
        self._index = index
        self._owners = Owners()
        self._damaged: Damaged = {}
        self._told: set[int] = set()
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
        """The generation that was seen last; 0 before any was."""
        return 0 if (seen := self._seen) is None else seen.generation

    @property
    def settings(self) -> GallerySettings:
        """The settings that were seen last."""
        return self._settings

    @property
    def calibration(self) -> Calibration | None:
        """What was measured with the generation that was seen last, if anything was."""
        return self._calibration

    def catch_up(self) -> None:
        """Follow every write that was acknowledged before."""
        head = self._store.head()
        if head != self._seen:
            if not head.generation:  # the gallery was deleted and made again meanwhile
                self._store.adopt(self.model)
            with self._following, self._store.database.reading() as connection:
                self._follow(connection)

    @contextmanager
    def still(self) -> Iterator[Head | None]:
        """Catch up, then hold the index still; gives what it agrees with, None when nothing.

        Raises:
            ModelMismatch: another model's generation is live, and the index can answer no more.

        """
        try:
            self.catch_up()
            with self._searching.shared():
                yield self._seen
        except IndexUnavailable:
            # What it holds is in doubt: the next request starts it over.
            self._seen = None
            # Where another generation answers, its index lets go of what this one's has outside.
            require_model(self._store.head(), self.model)
            raise

    @contextmanager
    def searchable(self) -> Iterator[Head]:
        """Hold still an index that can be searched for this model.

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
        """Find the nearest subjects, as `nearest_subjects` does; the index is held still."""
        return nearest_subjects(self._index, self._owners, embedding, limit, samples_of_a_subject)

    def knows(self, subject: str) -> bool:
        """Tell whether a subject has a sample that is indexed; the index is held still."""
        return self._owners.samples_of(subject) > 0

    def look_for(self, rows: Sequence[int], probes: NDArray[np.float32], generation: int) -> Looked:
        """Look for rows that should be gone, as well by their embeddings float32 `[N, L]`.

        These are of `generation`; to search by them where another one answers would show nothing.
        """
        searches, found = 0, 0
        with self._searching.shared():
            indexed = sum(row in self._owners for row in rows)
            if generation == self.generation and len(self._index):
                searches = len(probes)
                found = sum(finds_any(self._index, embedding, rows) for embedding in probes)
        return Looked(indexed, searches, found)

    def size(self) -> GallerySize:
        """Tell what a search can find, from memory; it counts only in another model's gallery.

        The index follows every change that the store numbers, so that this is what `status` counts.
        """
        with self.still() as seen:
            if seen is not None and seen.model == self.model:
                return self.sized(seen)
        status = self.status()
        return GallerySize(status.name, status.generation, status.subjects, status.samples)

    def sized(self, head: Head) -> GallerySize:
        """Tell what a search can find that agrees with `head`; the index is held still."""
        owners = self._owners
        return GallerySize(self._store.name, head.generation, owners.subjects, len(owners))

    def status(self) -> GalleryStatus:
        """Compare the index with the store, both as of one moment.

        The rows are counted when one of them was changed since, by whichever process.
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
        """Count once for each change: it takes longer the more there is, and anybody may ask."""
        if self._counted is None or self._counted[0] != head:
            counts = self._store.counts(connection, head.generation)
            self._counted = head, counts, self._store.kept(connection)
        return self._counted[1:]

    def _follow(self, connection: Connection) -> Head:
        """Bring the index to what the transaction sees; `_following` is held."""
        gallery, damaged = self._store.gallery_id, self._damaged
        update = news(connection, gallery, self._seen, self.model, damaged)
        if update.head == self._seen:
            return update.head
        settings = read_settings(connection, gallery)
        calibration = read_calibration(connection, update.head.generation)
        with self._searching.alone():
            self._settings, self._calibration = settings, calibration
            # Whatever fails half-way leaves an index that has seen nothing: it starts over.
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
        """Say of each sample once that searches do not find it, and what can be done."""
        for row, error in self._damaged.items():
            if row not in self._told:
                _LOG.warning(
                    "%s; no search finds it: erase that sample by its id and enrol its walk "
                    "again, or restore a backup",
                    error,
                )
        self._told = set(self._damaged)


def opened_index(
    index: VectorIndex | IndexChoice | None, store: Store, model: Model
) -> tuple[VectorIndex, Callable[[], bool]]:
    """Take an index as it is, or open one of the kind chosen: by default exact search by FAISS.

    What the gallery's own setting `index_kind` says goes before the choice. Returns as well what
    empties the files that its other kinds and models left where this one was chosen.

    Raises:
        EngineMissing: the kind of index cannot run here.
        IndexUnavailable: its folder or server cannot be used now.

    """
    if not (index is None or isinstance(index, IndexChoice)):
        return index, _nothing
    choice, encrypted = _chosen(index, store), store.database.vault.master is not None
    opened = open_index(choice, store.name, *model, encrypted=encrypted)
    if index is None:  # nobody said where files of an index would be
        return opened, _nothing
    return opened, partial(forget_others, choice, store.name, model.model_id)


def _nothing() -> bool:
    return True


def _chosen(choice: IndexChoice | None, store: Store) -> IndexChoice:
    with store.database.reading() as connection:
        kind = read_settings(connection, store.gallery_id).index_kind
    choice = choice or IndexChoice()
    return choice if kind == BY_SERVICE else replace(choice, kind=kind)
