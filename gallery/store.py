"""The truth: subjects, samples, silhouettes and embeddings of one gallery, in SQL.

Every method is one transaction; what it returned is on the disk.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, FromClause, Row, func, insert, select

from gallery import audit
from gallery.ciphers import MasterKey, Vault
from gallery.consents import consents_of, replace_consent
from gallery.contents import (
    STORED_EMBEDDINGS,
    STORED_SILHOUETTES,
    embeddings_from,
    insert_embeddings,
    insert_silhouettes,
    seal_subject,
    silhouettes_from,
)
from gallery.database import Database, vault_of
from gallery.errors import SilhouettesNotKept, StoreUnavailable, WrongMasterKey
from gallery.finding import (
    SAMPLE,
    find_sample,
    find_subject,
    first_sample,
    first_subject,
    no_such_subject,
    sample_from,
)
from gallery.generations import (
    Head,
    Model,
    adopt_if_empty,
    lock,
    model_sha256,
    note_model_file,
    now,
    read_head,
    record,
    require_model,
    was_replaced,
)
from gallery.master_keys import check_master_key
from gallery.packing import PackedSilhouettes, unpack_silhouettes
from gallery.preparing import find_gallery, find_or_make_gallery, prepare
from gallery.records import Consent, Enrolment
from gallery.schema import (
    EMBEDDINGS_ONLY,
    ENROLLED,
    embeddings,
    galleries,
    samples,
    subjects,
)


@dataclass(frozen=True)
class NewSample:
    """A checked and packed walk on its way into the store."""

    sample_id: str
    subject: str
    embedding: NDArray[np.float32]
    silhouettes: PackedSilhouettes | None
    metadata: str
    captured_at: str | None = None
    consent: Consent | None = None
    actor: str = audit.LOCAL


class Counts(NamedTuple):
    """How much a gallery holds; `embedded` counts the embeddings of one generation."""

    subjects: int
    samples: int
    embedded: int


class Kept(NamedTuple):
    """What a gallery keeps, and what that makes impossible; see `GalleryStatus`."""

    retention: str
    without_silhouettes: int
    encrypted: bool
    plain_subjects: int


class Store:
    """One named gallery in a database."""

    def __init__(self, database: Database, name: str, gallery_id: int) -> None:
        self.database = database
        self.name = name
        self.gallery_id = gallery_id

    @classmethod
    def open(
        cls,
        location: str | Path,
        name: str = "main",
        *,
        master_key: MasterKey | None = None,
        make: bool = True,
    ) -> Self:
        """Open the gallery `name`, making the database where it is missing.

        The gallery is made as well, with `make`.

        Raises:
            GalleryNotFound: there is no such gallery, and it is not to be made.
            StoreUnavailable: the database cannot be opened.
            StoreTooNew: a newer version of metagait wrote it.
            WrongMasterKey: it is encrypted under another master key than the one given.

        """
        database = Database(location, Vault(master_key))
        with database.closed_on_error():
            prepare(database)
            number = (
                find_or_make_gallery(database, name)[0] if make else find_gallery(database, name)
            )
        return cls(database, name, number)

    def again(self) -> Self:
        """Open the same gallery once more, to be closed by itself."""
        return type(self)(self.database.again(), self.name, self.gallery_id)

    def close(self) -> None:
        """Close the database; nothing is left to be written."""
        self.database.close()

    def head(self) -> Head:
        """Read what an index has to agree with."""
        with self.database.reading() as connection:
            return read_head(connection, self.gallery_id)

    def adopt(self, model: Model) -> None:
        """Make `model` the live one when the gallery holds no sample; else change nothing."""
        if self.head().model != model:
            with self.database.writing() as connection:
                lock(connection, self.gallery_id)
                adopt_if_empty(connection, self.gallery_id, model)

    def enroll(self, new: NewSample, model: Model) -> Enrolment:
        """Write one sample, or find that the same walk of the same subject is there already.

        Raises:
            ModelMismatch: the live generation belongs to another model.
            StoreUnavailable: another process has changed the master key since this one opened it.

        """
        with self.database.writing() as connection:
            lock(connection, self.gallery_id)
            head = adopt_if_empty(connection, self.gallery_id, model)
            require_model(head, model)
            known = first_sample(connection, self, new.sample_id)
            if known is not None:
                return self._again(connection, head, known, new.consent, new.actor)
            enrolment, token = self._add(connection, head, new)
            self._log(connection, head, enrolment, token, new.actor)
            return enrolment

    def enrolled_before(
        self, sample_id: str, model: Model, consent: Consent | None, actor: str
    ) -> Enrolment | None:
        """Find that a sample is there already and do as `enroll` does; None when it is not.

        Raises:
            ModelMismatch: the live generation belongs to another model.

        """
        with self.database.reading() as connection:
            if first_sample(connection, self, sample_id) is None:
                return None
        with self.database.writing() as connection:
            lock(connection, self.gallery_id)
            known = first_sample(connection, self, sample_id)
            if known is None:
                return None  # erased in between
            head = read_head(connection, self.gallery_id)
            require_model(head, model)
            return self._again(connection, head, known, consent, actor)

    def was_replaced(self, model: Model) -> bool:
        """Tell whether a model was live once and another one is now."""
        with self.database.reading() as connection:
            return was_replaced(connection, self.gallery_id, model)

    def note_model_file(self, model: Model, sha256: str) -> None:
        """Write down the SHA-256, 64 hex digits, of a model's file."""
        with self.database.writing() as connection:
            note_model_file(connection, self.gallery_id, model, sha256)

    def model_sha256(self) -> str | None:
        """Read the SHA-256 of the live generation's model file; None when nobody kept it."""
        with self.database.reading() as connection:
            head = read_head(connection, self.gallery_id)
            return model_sha256(connection, head.generation)

    def embeddings_of(self, subject: str, head: Head) -> tuple[list[str], NDArray[np.float32]]:
        """Read a subject's sample ids and embeddings float32 `[N, L]` of one generation.

        Raises:
            SubjectNotFound: there is no such subject, or the generation knows nothing of it.

        """
        with self.database.reading() as connection:
            found = find_subject(connection, self, subject)
            rows = connection.execute(
                STORED_EMBEDDINGS.where(samples.c.subject == found.id)
                .where(embeddings.c.generation == head.generation)
                .order_by(samples.c.id)
            ).all()
            if not rows:
                raise no_such_subject(self, subject)
            vectors = embeddings_from(connection, rows, head.model.embedding_length)
        return [row.sample_id for row in rows], vectors

    def silhouettes(self, sample_id: str) -> NDArray[np.uint8]:
        """Read a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: it was enrolled by its embedding alone.

        """
        with self.database.reading() as connection:
            found = find_sample(connection, self, sample_id)
            query = STORED_SILHOUETTES.where(samples.c.id == found.id)
            kept = connection.execute(query).first()
            packed = None if kept is None else silhouettes_from(connection, kept)
        if packed is None:
            raise SilhouettesNotKept(
                f"expected silhouettes of the sample {sample_id}, "
                "got a sample that was enrolled by its embedding alone"
            )
        return unpack_silhouettes(packed)

    def counts(self, connection: Connection, generation: int) -> Counts:
        """Count what the gallery holds, as the caller's transaction sees it."""
        return Counts(
            subjects=_count(connection, subjects, gallery=self.gallery_id),
            samples=_count(connection, samples, gallery=self.gallery_id),
            embedded=_count(connection, embeddings, generation=generation),
        )

    def retention(self, connection: Connection) -> str:
        """Read what the gallery keeps: `keep`, or `embeddings-only`."""
        query = select(galleries.c.retention).where(galleries.c.id == self.gallery_id)
        return str(connection.execute(query).scalar_one())

    def kept(self, connection: Connection) -> Kept:
        """Read what the gallery keeps, as the caller's transaction sees it."""
        without = (samples.c.gallery == self.gallery_id) & (samples.c.frames == 0)
        plain = (subjects.c.gallery == self.gallery_id) & subjects.c.wrapped_key.is_(None)
        return Kept(
            retention=self.retention(connection),
            without_silhouettes=connection.scalar(select(func.count()).where(without)) or 0,
            encrypted=vault_of(connection).master is not None,
            plain_subjects=connection.scalar(select(func.count()).where(plain)) or 0,
        )

    def _again(
        self,
        connection: Connection,
        head: Head,
        known: Row[Any],
        consent: Consent | None,
        actor: str,
    ) -> Enrolment:
        """Answer and log the enrolment of a row of `SAMPLE` that is there already.

        A consent that comes with it takes the place of the one before, as with a new walk.
        """
        before = consents_of(connection, known.subject_row).get(known.id)
        sample = sample_from(known, head.model, before if consent is None else consent)
        enrolment = Enrolment(sample, created_subject=False, duplicate=True)
        self._log(connection, head, enrolment, known.token, actor)
        if sample.consent is not None and sample.consent != before:
            replace_consent(connection, known.subject_row, known.id, sample.consent)
            entry = audit.Entry("consent", "recorded", actor, head.generation, known.token)
            audit.append(connection, self.gallery_id, [entry])
        return enrolment

    def _log(
        self, connection: Connection, head: Head, enrolment: Enrolment, token: str, actor: str
    ) -> None:
        """Note an enrolment of the subject that has the token in the audit log."""
        outcome = "duplicate" if enrolment.duplicate else "enrolled"
        counts = {"samples": int(not enrolment.duplicate)}
        entry = audit.Entry("enrol", outcome, actor, head.generation, token, counts)
        audit.append(connection, self.gallery_id, [entry])

    def _add(self, connection: Connection, head: Head, new: NewSample) -> tuple[Enrolment, str]:
        """Write a sample that is not there yet; returns the subject's token as well."""
        _check_master_key_of_now(connection)
        subject_row, created = self._subject_row(connection, new.subject)
        row = self._insert_sample(connection, subject_row, new)
        insert_embeddings(connection, head.generation, [row], new.embedding[np.newaxis])
        record(connection, self.gallery_id, ENROLLED, [row])
        if new.consent is not None:
            replace_consent(connection, subject_row, row, new.consent)
        written = connection.execute(SAMPLE.where(samples.c.id == row)).one()
        sample = sample_from(written, head.model, new.consent)
        return Enrolment(sample, created_subject=created, duplicate=False), written.token

    def _subject_row(self, connection: Connection, subject: str) -> tuple[int, bool]:
        """Find the subject's row or add it; tells whether it was added."""
        found = first_subject(connection, self, subject)
        if found is not None:
            seal_subject(connection, found.id)
            return found.id, False
        token = secrets.token_hex(16)
        values = {
            "gallery": self.gallery_id,
            "subject": subject,
            "created_at": now(),
            "token": token,
            "wrapped_key": vault_of(connection).new_key(self.gallery_id, token),
        }
        added = insert(subjects).values(values).returning(subjects.c.id)
        return connection.execute(added).scalar_one(), True

    def _insert_sample(self, connection: Connection, subject_row: int, new: NewSample) -> int:
        packed = new.silhouettes
        if self.retention(connection) == EMBEDDINGS_ONLY:
            packed = None
        values = {
            "sample_id": new.sample_id,
            "gallery": self.gallery_id,
            "subject": subject_row,
            "created_at": now(),
            "captured_at": new.captured_at,
            "frames": 0 if packed is None else packed.shape[0],
            "metadata": new.metadata,
        }
        added = insert(samples).values(values).returning(samples.c.id)
        row: int = connection.execute(added).scalar_one()
        if packed is not None:
            insert_silhouettes(connection, row, packed)
        return row


def _check_master_key_of_now(connection: Connection) -> None:
    """Refuse to seal with a master key that the store has no more: nothing would open that again.

    Another process may have changed it since this one opened the store.
    """
    try:
        check_master_key(connection)
    except WrongMasterKey as error:
        raise StoreUnavailable(f"{error}; it was changed meanwhile: start again with it") from error


def _count(connection: Connection, table: FromClause, **wanted: int) -> int:
    query = select(func.count()).select_from(table).filter_by(**wanted)
    return int(connection.execute(query).scalar_one())
