"""The Gallery class: enrol, identify and verify people in one named gallery.

The SQL store is the truth and the search index is a cache of it. A write is a single SQL
transaction; the index then catches up with it, exactly as it does with writes of other processes.
Listing, reading and erasing what is stored about people is in the base class, `gallery.people`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gallery.audit import LOCAL
from gallery.calibration import Calibration, calibrate
from gallery.checks import check_consent, check_embedding, check_limit, check_silhouettes
from gallery.ciphers import MasterKey
from gallery.current import Current, opened_index
from gallery.enrolling import Written, enroll, enrolled_before, find_conflict, new_sample
from gallery.generations import Model
from gallery.index import VectorIndex
from gallery.indexes.choose import IndexChoice
from gallery.jobs import JobLog
from gallery.moments import Moment
from gallery.packing import sample_id
from gallery.people import People
from gallery.records import Candidate, Consent, Enrolment, GallerySize, GalleryStatus
from gallery.scrubbing import Scrubber
from gallery.search_log import SearchLog, SearchNote
from gallery.settings import GallerySettings, change_settings
from gallery.store import Store


class Gallery(People):
    """One gallery of people, opened for embeddings of one model. All methods are thread-safe.

    Every method may raise StoreUnavailable, and every method that writes may raise StoreFull.
    """

    def __init__(
        self,
        store: Store,
        model: Model,
        index: VectorIndex,
        forget_others: Callable[[], bool] = lambda: True,
    ) -> None:
        self._current = Current(store, model, index)
        super().__init__(store, Scrubber(store, self._current, forget_others))
        self._model = model
        self._searches = SearchLog(store)

    @property
    def name(self) -> str:
        """Return the gallery's name."""
        return self._store.name

    @classmethod
    def open(
        cls,
        database: str | Path,
        *,
        model_id: str,
        embedding_length: int,
        name: str = "main",
        index: VectorIndex | IndexChoice | None = None,
        master_key: MasterKey | None = None,
        make: bool = True,
    ) -> Self:
        """Open a gallery for a model, creating it if it is missing, and fill the index.

        A gallery that was embedded by another model still opens: its people can be listed and
        erased, but not compared until the gallery is rebuilt. An empty gallery adopts this model.

        Args:
            database: a folder (its file `metagait.db` is used) or a SQLAlchemy URL.
            model_id: the model that produces the embeddings, as named in its model file.
            embedding_length: how many numbers a flattened embedding has, P*D.
            name: which gallery of the database to open.
            index: the index to fill, or the kind of index to open; closed together with the
                gallery. The default is exact search by FAISS.
            master_key: encrypts silhouettes and embeddings. A store that was once opened with a key
                can never be opened without it again.
            make: whether to create the gallery if the store has none of that name.

        Raises:
            GalleryNotFound: there is no such gallery, and `make` is false.
            StoreUnavailable: the database cannot be opened.
            StoreTooNew: a newer version of metagait wrote it.
            WrongMasterKey: it is encrypted under a different master key from the one given.
            EngineMissing: this kind of index cannot run here.
            IndexUnavailable: the index's folder or server cannot be used at the moment.

        """
        store = Store.open(database, name, master_key=master_key, make=make)
        return cls.over(store, Model(model_id, embedding_length), index)

    @classmethod
    def over(
        cls, store: Store, model: Model, index: VectorIndex | IndexChoice | None = None
    ) -> Self:
        """Open a gallery over a store; its `close`, or an error here, closes store and index."""
        with ExitStack() as opened:
            opened.callback(store.close)
            gallery = cls(store, model, *opened_index(index, store, model))
            opened.callback(gallery._current.close)
            store.adopt(model)
            gallery._current.catch_up()
            gallery._scrubber.scrub()
            opened.pop_all()
        return gallery

    def close(self) -> None:
        """Write pending search notes, finish owed scrubbing, and close the index and the store."""
        with closing(self._store), closing(self._current):
            self._searches.close()
            self._scrubber.scrub()

    def enroll(
        self,
        subject: str,
        embedding: NDArray[np.float32],
        *,
        silhouettes: NDArray[np.uint8] | None,
        metadata: Mapping[str, Any] | None = None,
        captured_at: datetime | None = None,
        consent: Consent | None = None,
        actor: str = LOCAL,
    ) -> Enrolment:
        """Add a sample, and its subject if new; what is returned survives a power cut.

        Args:
            subject: 1..128 printable characters.
            embedding: float32 `[L]`, from the model that the gallery was opened for.
            silhouettes: uint8 `[T, H, W]`, aligned; without them the sample can never be
                re-embedded by another model.
            metadata: a JSON object of at most 16 KiB, nested at most 64 objects and lists deep.
            captured_at: when the walk was recorded, with a time zone.
            consent: the reason why this sample may be kept.
            actor: who made the request, for the audit log: the id of an API key, or `local`.

        Raises:
            InvalidInput: an argument does not meet the description above.
            ModelMismatch: the gallery was embedded by another model.
            EnrolmentConflict: the sample is nearer to another subject, which the gallery refuses.

        """
        new = new_sample(
            subject,
            embedding,
            self._model.embedding_length,
            silhouettes=silhouettes,
            metadata=metadata,
            captured_at=captured_at,
            consent=consent,
            actor=actor,
        )
        conflict = find_conflict(self._current, self._store, subject, embedding)
        enrolment = self._written(enroll(self._store, new, self._model))
        return enrolment if enrolment.duplicate else replace(enrolment, conflict=conflict)

    def _written(self, written: Written) -> Enrolment:
        """Let the index follow, and scrub what was stored in plain until now."""
        if written.sealed:
            self._scrubber.owe()
        self._current.catch_up()
        self._scrubber.scrub(wait=False)
        return written.enrolment

    def enrolled_before(
        self,
        subject: str,
        silhouettes: NDArray[np.uint8],
        *,
        consent: Consent | None = None,
        actor: str = LOCAL,
    ) -> Enrolment | None:
        """Return the enrolment of a walk that is enrolled already; None if it must be embedded.

        Silhouettes that were not kept then are kept now, if the gallery keeps any.

        Args:
            subject: whose walk it is.
            silhouettes: uint8 `[T, H, W]`, aligned.
            consent: replaces the consent that the walk was enrolled with.
            actor: who made the request, for the audit log.

        Raises:
            InvalidConsent: it has no basis, or its expiry is not a definite moment.
            ModelMismatch: the walk is enrolled, but in a gallery that another model embedded.

        """
        check_silhouettes(silhouettes)
        if consent is not None:
            check_consent(consent)
        known = sample_id(subject, silhouettes)
        written = enrolled_before(
            self._store, known, self._model, silhouettes, consent=consent, actor=actor
        )
        return None if written is None else self._written(written)

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """Hold the gallery still for all the questions behind one answer; writes wait meanwhile.

        Raises:
            ModelMismatch: the gallery was embedded by another model.

        """
        with self._current.searchable() as head:
            yield Moment(self._store, self._current, head)

    def identify(self, embedding: NDArray[np.float32], *, limit: int = 5) -> tuple[Candidate, ...]:
        """Return the nearest subjects at this moment; see `Moment.identify`."""
        # Checked before the gallery's state: an invalid probe is always the caller's error.
        check_embedding(embedding, self._model.embedding_length)
        check_limit(limit)
        with self.moment() as moment:
            return moment.identify(embedding, limit=limit)

    def verify(self, subject: str, embedding: NDArray[np.float32]) -> Candidate:
        """Compare a probe with one subject at this moment; see `Moment.verify`."""
        check_embedding(embedding, self._model.embedding_length)
        with self.moment() as moment:
            return moment.verify(subject, embedding)

    def note_search(
        self,
        action: str,
        outcome: str,
        *,
        actor: str = LOCAL,
        subject: str | None = None,
        candidates: int = 0,
    ) -> None:
        """Record an answered search in the audit log; returns without waiting for the write.

        Args:
            action: `identify` or `verify`.
            outcome: the decision: `match`, `no_match` or `inconclusive`.
            actor: who asked: the id of an API key, or `local`.
            subject: the subject that was named, or that the probe claimed to be.
            candidates: how many candidates were in the answer.

        """
        counts = {"candidates": candidates}
        generation = self._current.generation
        self._searches.add(SearchNote(action, outcome, actor, generation, subject, counts))

    def status(self) -> GalleryStatus:
        """Compare the index with the store, both as of the same moment.

        After another generation went live, this describes the one that still answers here.
        """
        return self._current.status()

    def size(self) -> GallerySize:
        """Return how much a search can find, from memory; see below for when it queries the store.

        The index follows every numbered change of the store, so these are the counts of `status`.
        They are only queried from the store if another model's generation is live.
        """
        return self._current.size()

    def settings(self) -> GallerySettings:
        """Return the operator's settings for this gallery."""
        self._current.catch_up()
        return self._current.settings

    def change_settings(self, changes: Mapping[str, Any]) -> GallerySettings:
        """Change some settings, for every process that has this gallery open.

        Raises:
            InvalidSetting: an unknown name, or a value that the setting does not accept.

        """
        changed = change_settings(self._store, changes)
        if changed.deletes_silhouettes:
            self._scrubber.owe()
            self._scrubber.scrub()
        return changed

    def calibrate(self, target_fpir: float, *, actor: str = LOCAL) -> Calibration:
        """Measure and store the threshold at which strangers are named at a rate of `target_fpir`.

        Raises:
            CalibrationRefused: the target is not a valid rate, or there are too few subjects.

        """
        return calibrate(self._store, target_fpir, actor)

    def calibration(self) -> Calibration | None:
        """Return the calibration of the generation that answers; None if there is none."""
        self._current.catch_up()
        return self._current.calibration

    def jobs(self) -> JobLog:
        """Open the log of this gallery's rebuild jobs; the caller closes it separately."""
        return JobLog(self._store.again())

    def live_model(self) -> Model:
        """Return the model of the live generation; another process may have switched it."""
        return self._store.head().model

    def was_replaced(self) -> bool:
        """Tell whether this gallery's model used to be live and another one is live now."""
        return self._store.was_replaced(self._model)

    def note_model_file(self, sha256: str) -> None:
        """Store the SHA-256 (64 hex digits) of the model file of this gallery's model."""
        self._store.note_model_file(self._model, sha256)

    def model_sha256(self) -> str | None:
        """Return the SHA-256 of the live generation's model file; None if it was never recorded."""
        return self._store.model_sha256()
