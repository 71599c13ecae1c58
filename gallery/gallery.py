"""Enrol, identify, verify, erase: the store is the truth, the index follows it.

Before every answer the index is compared with the store's head, and catches up when this process
or another one has written. A write is one SQL transaction; the index then follows it as it follows
anybody's. A crash in between loses nothing, because a start follows from nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from gallery import erasing
from gallery.audit import LOCAL
from gallery.calibration import Calibration, calibrate, read_calibration
from gallery.candidates import Owners, finds_any, nearest_subjects
from gallery.checks import (
    check_captured_at,
    check_consent,
    check_embedding,
    check_limit,
    check_silhouettes,
    check_subject,
    metadata_text,
)
from gallery.ciphers import MasterKey
from gallery.consents import written
from gallery.errors import EnrolmentConflict, IndexUnavailable, StoreUnavailable
from gallery.following import news
from gallery.generations import (
    Head,
    Model,
    model_sha256,
    note_model_file,
    read_head,
    require_model,
    was_replaced,
)
from gallery.index import VectorIndex
from gallery.indexes.choose import IndexChoice, open_index
from gallery.jobs import JobLog
from gallery.listing import describe_subject, list_subjects, record_consent
from gallery.packing import pack_silhouettes, sample_id
from gallery.records import (
    Candidate,
    Conflict,
    Consent,
    Enrolment,
    Erasure,
    GallerySize,
    GalleryStatus,
    Proof,
    Receipt,
    SubjectDetail,
    SubjectSummary,
)
from gallery.search_log import SearchLog, SearchNote
from gallery.settings import OFF, REFUSE, GallerySettings, change_settings, read_settings
from gallery.sharing import SharedLock
from gallery.starting import start_over
from gallery.store import NewSample, Store
from gallery.views import views_of


class Gallery:
    """The people of one gallery, for embeddings of one model; any thread may call any method.

    Every method may raise StoreUnavailable, and every one that writes StoreFull.
    """

    # Locks are taken in this order: `_following`, a transaction, `_searching`.

    def __init__(self, store: Store, model: Model, index: VectorIndex) -> None:
        self._store = store
        self._model = model
        self._index = index
        self._owners = Owners()
        self._seen: Head | None = None
        self._settings = GallerySettings()
        self._calibration: Calibration | None = None
        self._following = Lock()
        self._searching = SharedLock()
        self._searches = SearchLog(store)
        self._must_scrub = True

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

        Raises:
            StoreUnavailable: the database cannot be opened.
            StoreTooNew: a newer version of metagait wrote it.
            WrongMasterKey: it is encrypted under another master key than the one given.
            EngineMissing: the kind of index cannot run here.
            IndexUnavailable: its folder or server cannot be used now.

        """
        store = Store.open(database, name, master_key=master_key)
        return cls.over(store, Model(model_id, embedding_length), index)

    @classmethod
    def over(
        cls, store: Store, model: Model, index: VectorIndex | IndexChoice | None = None
    ) -> Self:
        """Fill an index from a store; both are closed with the gallery, and on an error."""
        try:
            gallery = cls(store, model, _opened(index, store, model))
        except BaseException:
            store.close()
            raise
        try:
            store.adopt(model)
            gallery._catch_up()
            gallery._scrub()  # a process that was killed while it erased may have left some
        except BaseException:
            gallery._index.close()
            store.close()
            raise
        return gallery

    def close(self) -> None:
        """Close the index and the store; nothing is left to be written."""
        self._searches.close()
        self._scrub()
        self._index.close()
        self._store.close()

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
            metadata: a JSON object of at most 16 KiB.
            captured_at: when the walk was recorded, with a time zone.
            consent: why this sample may be kept.
            actor: who asks, for the audit log: the id of an API key, or `local`.

        Raises:
            InvalidInput: one of the arguments is not as above.
            ModelMismatch: the gallery was embedded by another model.
            EnrolmentConflict: the sample is nearer to somebody else, and the gallery refuses that.

        """
        check_subject(subject)
        check_embedding(embedding, self._model.embedding_length)
        if silhouettes is not None:
            check_silhouettes(silhouettes)
        if captured_at is not None:
            check_captured_at(captured_at)
        if consent is not None:
            check_consent(consent)
        new = NewSample(
            sample_id=sample_id(subject, embedding, silhouettes),
            subject=subject,
            embedding=embedding,
            silhouettes=None if silhouettes is None else pack_silhouettes(silhouettes),
            metadata=metadata_text(metadata),
            captured_at=None if captured_at is None else written(captured_at),
            consent=consent,
            actor=actor,
        )
        conflict = self._conflict(subject, embedding)
        enrolment = self._store.enroll(new, self._model)
        self._catch_up()
        self._scrub()
        return enrolment if enrolment.duplicate else replace(enrolment, conflict=conflict)

    def identify(self, embedding: NDArray[np.float32], *, limit: int = 5) -> tuple[Candidate, ...]:
        """Name the `limit` subjects nearest to a probe's embedding float32 `[L]`, nearest first.

        Each subject stands with its nearest sample, and with the distance that the gallery's
        setting `aggregation` makes of its samples. Fewer come back only when the gallery has no
        more. Whether the nearest is near enough to be the same person is not said here.

        Raises:
            InvalidEmbedding: not float32 `[L]` of finite numbers.
            InvalidLimit: `limit` is below 1.
            ModelMismatch: the gallery was embedded by another model.

        """
        check_embedding(embedding, self._model.embedding_length)
        check_limit(limit)
        with self._searchable():
            count = self._settings.samples_of_a_subject
            return nearest_subjects(self._index, self._owners, embedding, limit, count)

    def verify(self, subject: str, embedding: NDArray[np.float32]) -> Candidate:
        """Compare a probe's embedding float32 `[L]` with one subject's samples: the nearest.

        Raises:
            InvalidEmbedding: not float32 `[L]` of finite numbers.
            ModelMismatch: the gallery was embedded by another model.
            SubjectNotFound: there is no such subject.

        """
        check_embedding(embedding, self._model.embedding_length)
        with self._searchable() as head:
            sample_ids, embeddings = self._store.embeddings_of(subject, head)
            count = self._settings.samples_of_a_subject
        distances = np.linalg.norm(embeddings - embedding, axis=1)
        nearest = np.argsort(distances, kind="stable")[:count]
        return Candidate(1, subject, float(distances[nearest].mean()), sample_ids[nearest[0]])

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
        generation = 0 if (seen := self._seen) is None else seen.generation
        counts = {"candidates": candidates}
        self._searches.add(SearchNote(action, outcome, actor, generation, subject, counts))

    def subjects(
        self, *, limit: int = 50, after: str | None = None, expired: bool = False
    ) -> tuple[SubjectSummary, ...]:
        """List subjects in the order of their ids, a page of `limit` of those after `after`.

        With `expired`, only those of whom a consent, or one to a sample of theirs, has expired.

        Raises:
            InvalidLimit: `limit` is below 1.

        """
        check_limit(limit)
        return list_subjects(self._store, limit, after, expired=expired)

    def subject(self, subject: str) -> SubjectDetail:
        """Read a subject with its samples, oldest first.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        return describe_subject(self._store, subject)

    def set_consent(self, subject: str, consent: Consent, *, actor: str = LOCAL) -> None:
        """Record why a subject may be here, in place of what was recorded before.

        Raises:
            InvalidConsent: it has no basis, or expires at no certain moment.
            SubjectNotFound: there is no such subject.

        """
        check_consent(consent)
        record_consent(self._store, subject, consent, actor)

    def silhouettes(self, sample_id: str) -> NDArray[np.uint8]:
        """Read a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: it was enrolled by its embedding alone.

        """
        return self._store.silhouettes(sample_id)

    def erase_subject(self, subject: str, *, actor: str = LOCAL) -> Erasure:
        """Erase a subject with all its samples, from every generation and from the files.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        return self._after_erasing(erasing.erase_subject(self._store, subject, actor))

    def erase_sample(self, sample_id: str, *, actor: str = LOCAL) -> Erasure:
        """Erase one sample; the subject goes with its last one.

        Raises:
            SampleNotFound: there is no such sample.

        """
        return self._after_erasing(erasing.erase_sample(self._store, sample_id, actor))

    def receipt(self, receipt_id: str) -> Receipt:
        """Read the receipt of an erasure again.

        Raises:
            ReceiptNotFound: there is none of this id.

        """
        return erasing.read_receipt(self._store, receipt_id)

    def status(self) -> GalleryStatus:
        """Compare the index with the store, both as of one moment, and count what is there.

        After another generation went live this tells of the one that still answers here.
        """
        with self._following, self._store.database.reading() as connection:
            head = self._follow(connection)
            counts = self._store.counts(connection, head.generation)
            kept = self._store.kept(connection)
            indexed = len(self._index)
        same_counts = counts.samples == counts.embedded == indexed == len(self._owners)
        return GalleryStatus(
            name=self._store.name,
            generation=head.generation,
            model_id=head.model.model_id,
            embedding_length=head.model.embedding_length,
            subjects=counts.subjects,
            samples=counts.samples,
            indexed=indexed,
            index_kind=self._index.kind,
            index_state=self._index.state,
            in_sync=self._seen == head and head.model == self._model and same_counts,
            **kept._asdict(),
        )

    def size(self) -> GallerySize:
        """Tell what a search can find, from memory; it counts only in another model's gallery.

        The index follows every change that the store numbers, so that this is what `status` counts.
        """
        self._catch_up()
        with self._searching.shared():
            seen = self._seen
            subjects, samples = self._owners.subjects, len(self._owners)
        if seen is None or seen.model != self._model:
            status = self.status()
            return GallerySize(status.name, status.generation, status.subjects, status.samples)
        return GallerySize(self.name, seen.generation, subjects, samples)

    def settings(self) -> GallerySettings:
        """Read what the operator chose for this gallery."""
        self._catch_up()
        return self._settings

    def change_settings(self, changes: Mapping[str, Any]) -> GallerySettings:
        """Change some settings, for every process that has this gallery open.

        Raises:
            InvalidSetting: an unknown name, or a value that the setting does not take.

        """
        return change_settings(self._store, changes)

    def calibrate(self, target_fpir: float, *, actor: str = LOCAL) -> Calibration:
        """Measure the threshold that names a stranger in `target_fpir` of the searches; keep it.

        Raises:
            CalibrationRefused: the target is no rate, or the gallery has too few subjects for it.

        """
        return calibrate(self._store, target_fpir, actor)

    def calibration(self) -> Calibration | None:
        """Read what was measured with the generation that answers; None when nothing was."""
        self._catch_up()
        return self._calibration

    def views(self, sample_ids: Sequence[str]) -> Mapping[str, float]:
        """Read the views, in degrees, of those samples whose metadata name one."""
        return views_of(self._store, sample_ids)

    def jobs(self) -> JobLog:
        """Open the rebuilds of this gallery, to be closed by themselves."""
        return JobLog(self._store.again())

    def live_model(self) -> Model:
        """Read which model's generation is live; another process may have switched to it."""
        return self._store.head().model

    def was_replaced(self) -> bool:
        """Tell whether this gallery's model was live once and another one is now."""
        with self._store.database.reading() as connection:
            return was_replaced(connection, self._store.gallery_id, self._model)

    def note_model_file(self, sha256: str) -> None:
        """Write down the SHA-256, 64 hex digits, of the file of this gallery's model."""
        with self._store.database.writing() as connection:
            note_model_file(connection, self._store.gallery_id, self._model, sha256)

    def model_sha256(self) -> str | None:
        """Read the SHA-256 of the live generation's model file; None when nobody kept it."""
        with self._store.database.reading() as connection:
            head = read_head(connection, self._store.gallery_id)
            return model_sha256(connection, head.generation)

    def _conflict(self, subject: str, embedding: NDArray[np.float32]) -> Conflict | None:
        """See whether a new sample is nearer to somebody else than to its own subject.

        What others enrol between this look and the write is not seen.
        """
        self._catch_up()
        with self._searching.shared():
            head, setting = self._seen, self._settings.conflict
            is_new = not self._owners.samples_of(subject)
            if setting == OFF or is_new or head is None or head.model != self._model:
                return None
            nearest = nearest_subjects(self._index, self._owners, embedding, 1)[0]
        if nearest.subject == subject:
            return None
        _, own = self._store.embeddings_of(subject, head)
        own_distance = float(np.linalg.norm(own - embedding, axis=1).min())
        if own_distance <= nearest.distance:
            return None
        if setting == REFUSE:
            raise EnrolmentConflict(
                f"expected a walk of {subject!r} nearest to their own samples, at "
                f"{own_distance:.4g}, got one nearer to {nearest.subject!r}, at "
                f"{nearest.distance:.4g}, and this gallery refuses such"
            )
        return Conflict(nearest.subject, nearest.distance, own_distance)

    @contextmanager
    def _searchable(self) -> Iterator[Head]:
        """Hold the index still, caught up with every write that was acknowledged before."""
        self._catch_up()
        with self._searching.shared():
            seen = self._seen
            if seen is None:
                raise StoreUnavailable(
                    "expected an index that agrees with the store, got one that could not follow "
                    "it; the next request starts it over"
                )
            require_model(seen, self._model)
            try:
                yield seen
            except IndexUnavailable:
                # What it holds is in doubt: the next request starts it over.
                self._seen = None
                raise

    def _catch_up(self) -> None:
        if self._store.head() != self._seen:
            with self._following, self._store.database.reading() as connection:
                self._follow(connection)

    def _follow(self, connection: Connection) -> Head:
        """Bring the index to what the transaction sees; `_following` is held."""
        update = news(connection, self._store.gallery_id, self._seen, self._model)
        if update.head == self._seen:
            return update.head
        self._settings = read_settings(connection, self._store.gallery_id)
        self._calibration = read_calibration(connection, update.head.generation)
        with self._searching.alone():
            # Whatever fails half-way leaves an index that has seen nothing: it starts over.
            self._seen = None
            if update.starts_over:
                start_over(
                    connection,
                    self._store.gallery_id,
                    update.head,
                    self._model,
                    index=self._index,
                    owners=self._owners,
                )
            self._index.remove(update.erased)
            self._owners.remove(update.erased)
            for chunk in update.enrolled:
                self._index.add(chunk.rows, chunk.embeddings, chunk.marks)
                self._owners.add(chunk)
            self._seen = update.head
        return update.head

    def _after_erasing(self, erased: erasing.Erased) -> Erasure:
        self._must_scrub = True
        self._catch_up()
        self._scrub()
        return erasing.finish(self._store, erased, self._proof(erased))

    def _proof(self, erased: erasing.Erased) -> Proof:
        """Look for what was erased: its rows, and its own embeddings in the index."""
        searches, found = 0, 0
        with self._searching.shared():
            indexed = sum(row in self._owners for row in erased.rows)
            if erased.probes.shape[1:] == (self._model.embedding_length,) and len(self._index):
                searches = len(erased.probes)
                found = sum(
                    finds_any(self._index, embedding, erased.rows) for embedding in erased.probes
                )
        return Proof(
            checked_at=datetime.now(UTC),
            rows=erasing.count_left(self._store, erased),
            searches=searches,
            found=found,
            indexed=indexed,
            files="pending" if self._must_scrub else self._store.database.erased_bytes,
        )

    def _scrub(self) -> None:
        # Somebody may be reading the write-ahead log: then the next write or start does it.
        if self._must_scrub:
            self._must_scrub = not self._store.database.scrub()


def _opened(index: VectorIndex | IndexChoice | None, store: Store, model: Model) -> VectorIndex:
    if index is None or isinstance(index, IndexChoice):
        choice = index or IndexChoice()
        encrypted = store.database.vault.master is not None
        return open_index(choice, store.name, *model, encrypted=encrypted)
    return index
