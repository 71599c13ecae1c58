"""Enrol, identify, verify: the store is the truth, and what answers follows it.

A write is one SQL transaction; the index then follows it as it follows anybody's. What is kept
about people is listed, read and erased in `gallery.people`.
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
from gallery.enrolling import enroll, enrolled_before, find_conflict, new_sample
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
    """The people of one gallery, for embeddings of one model; any thread may call any method.

    Every method may raise StoreUnavailable, and every one that writes StoreFull.
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
        """The gallery's name."""
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
        """Open a gallery for a model, making it where it is missing, and fill the index.

        A gallery that another model embedded opens all the same: its people can be listed and
        erased, but not compared, until it is rebuilt. An empty one takes the model over.

        Args:
            database: a folder, which keeps the file `metagait.db`, or a SQLAlchemy URL.
            model_id: the model that makes the embeddings, as its file names it.
            embedding_length: numbers in a flattened embedding, P*D.
            name: which gallery of the database.
            index: the index to fill, or which kind to open; closed with the gallery. By default
                exact search by FAISS.
            master_key: encrypts silhouettes and embeddings; a store that has been opened with one
                never opens without it again.
            make: whether to make the gallery where the store has none of that name.

        Raises:
            GalleryNotFound: there is no such gallery, and it is not to be made.
            StoreUnavailable: the database cannot be opened.
            StoreTooNew: a newer version of metagait wrote it.
            WrongMasterKey: it is encrypted under another master key than the one given.
            EngineMissing: the kind of index cannot run here.
            IndexUnavailable: its folder or server cannot be used now.

        """
        store = Store.open(database, name, master_key=master_key, make=make)
        return cls.over(store, Model(model_id, embedding_length), index)

    @classmethod
    def over(
        cls, store: Store, model: Model, index: VectorIndex | IndexChoice | None = None
    ) -> Self:
        """Fill an index from a store; both are closed with the gallery, and on an error."""
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
        """Close the index and the store; nothing is left to be written."""
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
        """Add a sample, and its subject when it is new. What is returned survives a power cut.

        Args:
            subject: 1..128 printable characters.
            embedding: float32 `[L]`, by the model that the gallery was opened for.
            silhouettes: uint8 `[T, H, W]`, aligned; without them no other model can ever embed
                the sample.
            metadata: a JSON object of at most 16 KiB, 64 objects and lists deep.
            captured_at: when the walk was recorded, with a time zone.
            consent: why this sample may be kept.
            actor: who asks, for the audit log: the id of an API key, or `local`.

        Raises:
            InvalidInput: one of the arguments is not as above.
            ModelMismatch: the gallery was embedded by another model.
            EnrolmentConflict: the sample is nearer to somebody else, and the gallery refuses that.

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
        enrolment, sealed = enroll(self._store, new, self._model)
        if sealed:
            self._scrubber.owe()
        self._current.catch_up()
        self._scrubber.scrub(wait=False)
        return enrolment if enrolment.duplicate else replace(enrolment, conflict=conflict)

    def enrolled_before(
        self,
        subject: str,
        silhouettes: NDArray[np.uint8],
        *,
        consent: Consent | None = None,
        actor: str = LOCAL,
    ) -> Enrolment | None:
        """Tell of a walk that is enrolled already, which need not be embedded; None for another.

        Args:
            subject: whose walk it is.
            silhouettes: uint8 `[T, H, W]`, aligned.
            consent: takes the place of the one that the walk was enrolled with.
            actor: who asks, for the audit log.

        Raises:
            InvalidConsent: it has no basis, or expires at no certain moment.
            ModelMismatch: it is enrolled, in a gallery that another model embedded.

        """
        check_silhouettes(silhouettes)
        if consent is not None:
            check_consent(consent)
        known = sample_id(subject, silhouettes)
        return enrolled_before(self._store, known, self._model, consent, actor)

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """Hold the gallery still for all the questions that make one answer; writes wait meanwhile.

        Raises:
            ModelMismatch: the gallery was embedded by another model.

        """
        with self._current.searchable() as head:
            yield Moment(self._store, self._current, head)

    def identify(self, embedding: NDArray[np.float32], *, limit: int = 5) -> tuple[Candidate, ...]:
        """Name the nearest subjects at this moment, as `Moment.identify` does."""
        # Judged before the gallery is: a wrong probe is the caller's fault whatever is enrolled.
        check_embedding(embedding, self._model.embedding_length)
        check_limit(limit)
        with self.moment() as moment:
            return moment.identify(embedding, limit=limit)

    def verify(self, subject: str, embedding: NDArray[np.float32]) -> Candidate:
        """Compare a probe with a subject at this moment, as `Moment.verify` does."""
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
        """Note a search that was answered in the audit log; returns at once.

        Args:
            action: `identify` or `verify`.
            outcome: what was decided: `match`, `no_match`, `inconclusive`.
            actor: who asked: the id of an API key, or `local`.
            subject: who was named, or claimed to be.
            candidates: how many were answered.

        """
        counts = {"candidates": candidates}
        generation = self._current.generation
        self._searches.add(SearchNote(action, outcome, actor, generation, subject, counts))

    def status(self) -> GalleryStatus:
        """Compare the index with the store, both as of one moment.

        After another generation went live this tells of the one that still answers here.
        """
        return self._current.status()

    def size(self) -> GallerySize:
        """Tell what a search can find, from memory; it counts only in another model's gallery.

        The index follows every change that the store numbers, so that this is what `status` counts.
        """
        return self._current.size()

    def settings(self) -> GallerySettings:
        """Read what the operator chose for this gallery."""
        self._current.catch_up()
        return self._current.settings

    def change_settings(self, changes: Mapping[str, Any]) -> GallerySettings:
        """Change some settings, for every process that has this gallery open.

        Raises:
            InvalidSetting: an unknown name, or a value that the setting does not take.

        """
        changed = change_settings(self._store, changes)
        if changed.deletes_silhouettes:
            self._scrubber.owe()
            self._scrubber.scrub()
        return changed

    def calibrate(self, target_fpir: float, *, actor: str = LOCAL) -> Calibration:
        """Measure the threshold that names a stranger in `target_fpir` of the searches; keep it.

        Raises:
            CalibrationRefused: the target is no rate, or the gallery has too few subjects for it.

        """
        return calibrate(self._store, target_fpir, actor)

    def calibration(self) -> Calibration | None:
        """Read what was measured with the generation that answers; None when nothing was."""
        self._current.catch_up()
        return self._current.calibration

    def jobs(self) -> JobLog:
        """Open the rebuilds of this gallery, to be closed by themselves."""
        return JobLog(self._store.again())

    def live_model(self) -> Model:
        """Read which model's generation is live; another process may have switched to it."""
        return self._store.head().model

    def was_replaced(self) -> bool:
        """Tell whether this gallery's model was live once and another one is now."""
        return self._store.was_replaced(self._model)

    def note_model_file(self, sha256: str) -> None:
        """Write down the SHA-256, 64 hex digits, of the file of this gallery's model."""
        self._store.note_model_file(self._model, sha256)

    def model_sha256(self) -> str | None:
        """Read the SHA-256 of the live generation's model file; None when nobody kept it."""
        return self._store.model_sha256()
