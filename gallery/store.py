"""The truth: subjects, samples, silhouettes and embeddings of one gallery, in SQL.

Every method is one transaction; what it returned is on the disk.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, FromClause, Row, Select, delete, func, insert, select

from gallery.database import Database
from gallery.errors import SampleNotFound, SilhouettesNotKept, SubjectNotFound
from gallery.generations import (
    Head,
    Model,
    adopt_if_empty,
    lock,
    now,
    read_head,
    record,
    require_model,
)
from gallery.migrations import is_current, migrate
from gallery.packing import (
    PackedSilhouettes,
    pack_embedding,
    unpack_embeddings,
    unpack_silhouettes,
)
from gallery.records import Enrolment, Erasure, Sample, SubjectDetail, SubjectSummary
from gallery.schema import (
    ENROLLED,
    ERASED,
    embeddings,
    galleries,
    samples,
    silhouettes,
    subjects,
)

_SAMPLE: Select[Any] = select(
    samples.c.id,
    samples.c.sample_id,
    samples.c.created_at,
    samples.c.frames,
    samples.c.metadata,
    samples.c.subject.label("subject_row"),
    subjects.c.subject,
).join(subjects, subjects.c.id == samples.c.subject)


@dataclass(frozen=True)
class NewSample:
    """A checked and packed walk on its way into the store."""

    sample_id: str
    subject: str
    embedding: NDArray[np.float32]
    silhouettes: PackedSilhouettes | None
    metadata: str


class Counts(NamedTuple):
    """How much a gallery holds; `embedded` counts the embeddings of one generation."""

    subjects: int
    samples: int
    embedded: int


class Store:
    """One named gallery in a database."""

    def __init__(self, database: Database, name: str, gallery_id: int) -> None:
        self.database = database
        self.name = name
        self.gallery_id = gallery_id

    @classmethod
    def open(cls, location: str | Path, name: str = "main") -> Self:
        """Open the gallery `name`, making the database and the gallery where they are missing.

        Raises:
            StoreUnavailable: the database cannot be opened.
            StoreTooNew: a newer version of metagait wrote it.

        """
        database = Database(location)
        try:
            return cls(database, name, _prepare(database, name))
        except BaseException:
            database.close()
            raise

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

        """
        with self.database.writing() as connection:
            lock(connection, self.gallery_id)
            head = adopt_if_empty(connection, self.gallery_id, model)
            require_model(head, model)
            known = self._first_sample(connection, new.sample_id)
            if known is not None:
                return Enrolment(_sample(known, model), created_subject=False, duplicate=True)
            subject_row, created = self._subject_row(connection, new.subject)
            row = self._insert_sample(connection, subject_row, new)
            insert_embeddings(connection, head.generation, [row], new.embedding[np.newaxis])
            record(connection, self.gallery_id, ENROLLED, [row])
            written = connection.execute(_SAMPLE.where(samples.c.id == row)).one()
            return Enrolment(_sample(written, model), created_subject=created, duplicate=False)

    def erase_subject(self, subject: str) -> Erasure:
        """Delete a subject and all its samples, from every generation.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        with self.database.writing() as connection:
            lock(connection, self.gallery_id)
            found = self._find_subject(connection, subject)
            of_subject = select(samples.c.id).where(samples.c.subject == found.id)
            rows = list(connection.scalars(of_subject))
            connection.execute(delete(subjects).where(subjects.c.id == found.id))
            record(connection, self.gallery_id, ERASED, rows)
        return Erasure(subject, len(rows))

    def erase_sample(self, sample_id: str) -> Erasure:
        """Delete one sample from every generation, and its subject when it was the last one.

        Raises:
            SampleNotFound: there is no such sample.

        """
        with self.database.writing() as connection:
            lock(connection, self.gallery_id)
            found = self._find_sample(connection, sample_id)
            connection.execute(delete(samples).where(samples.c.id == found.id))
            others = select(samples.c.id).where(samples.c.subject == found.subject_row).limit(1)
            if connection.execute(others).first() is None:
                connection.execute(delete(subjects).where(subjects.c.id == found.subject_row))
            record(connection, self.gallery_id, ERASED, [found.id])
        return Erasure(found.subject, 1)

    def subjects(self, limit: int, after: str | None) -> tuple[SubjectSummary, ...]:
        """List `limit` subjects in the order of their ids, those after `after`."""
        query = (
            select(subjects.c.subject, subjects.c.created_at, func.count(samples.c.id).label("n"))
            .join(samples, samples.c.subject == subjects.c.id)
            .where(subjects.c.gallery == self.gallery_id)
            .group_by(subjects.c.id)
            .order_by(subjects.c.subject)
            .limit(limit)
        )
        if after is not None:
            query = query.where(subjects.c.subject > after)
        with self.database.reading() as connection:
            return tuple(
                SubjectSummary(row.subject, row.n, datetime.fromisoformat(row.created_at))
                for row in connection.execute(query)
            )

    def subject(self, subject: str) -> SubjectDetail:
        """Read a subject with its samples, oldest first.

        Raises:
            SubjectNotFound: there is no such subject.

        """
        with self.database.reading() as connection:
            found = self._find_subject(connection, subject)
            model = read_head(connection, self.gallery_id).model
            query = _SAMPLE.where(samples.c.subject == found.id).order_by(samples.c.id)
            rows = connection.execute(query).all()
        created_at = datetime.fromisoformat(found.created_at)
        return SubjectDetail(subject, created_at, tuple(_sample(row, model) for row in rows))

    def embeddings_of(self, subject: str, head: Head) -> tuple[list[str], NDArray[np.float32]]:
        """Read a subject's sample ids and embeddings float32 `[N, L]` of one generation.

        Raises:
            SubjectNotFound: there is no such subject, or the generation knows nothing of it.

        """
        with self.database.reading() as connection:
            found = self._find_subject(connection, subject)
            rows = connection.execute(
                select(samples.c.sample_id, embeddings.c.vector)
                .join(embeddings, embeddings.c.sample == samples.c.id)
                .where(samples.c.subject == found.id, embeddings.c.generation == head.generation)
                .order_by(samples.c.id)
            ).all()
        if not rows:
            raise self._no_such_subject(subject)
        vectors = unpack_embeddings([row.vector for row in rows], head.model.embedding_length)
        return [row.sample_id for row in rows], vectors

    def silhouettes(self, sample_id: str) -> NDArray[np.uint8]:
        """Read a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: it was enrolled by its embedding alone.

        """
        with self.database.reading() as connection:
            found = self._find_sample(connection, sample_id)
            query = select(silhouettes).where(silhouettes.c.sample == found.id)
            kept = connection.execute(query).first()
        if kept is None:
            raise SilhouettesNotKept(
                f"expected silhouettes of the sample {sample_id}, "
                "got a sample that was enrolled by its embedding alone"
            )
        return unpack_silhouettes(packed_from(kept))

    def counts(self, connection: Connection, generation: int) -> Counts:
        """Count what the gallery holds, as the caller's transaction sees it."""
        return Counts(
            subjects=_count(connection, subjects, gallery=self.gallery_id),
            samples=_count(connection, samples, gallery=self.gallery_id),
            embedded=_count(connection, embeddings, generation=generation),
        )

    def _find_subject(self, connection: Connection, subject: str) -> Row[Any]:
        found = self._first_subject(connection, subject)
        if found is None:
            raise self._no_such_subject(subject)
        return found

    def _no_such_subject(self, subject: str) -> SubjectNotFound:
        return SubjectNotFound(
            f"expected a subject of the gallery {self.name}, got {subject!r}, who is not in it"
        )

    def _find_sample(self, connection: Connection, sample_id: str) -> Row[Any]:
        found = self._first_sample(connection, sample_id)
        if found is None:
            raise SampleNotFound(
                f"expected a sample of the gallery {self.name}, "
                f"got {sample_id!r}, which is not in it"
            )
        return found

    def _first_subject(self, connection: Connection, subject: str) -> Row[Any] | None:
        is_it = (subjects.c.gallery == self.gallery_id) & (subjects.c.subject == subject)
        return connection.execute(select(subjects).where(is_it)).first()

    def _first_sample(self, connection: Connection, sample_id: str) -> Row[Any] | None:
        is_it = (samples.c.gallery == self.gallery_id) & (samples.c.sample_id == sample_id)
        return connection.execute(_SAMPLE.where(is_it)).first()

    def _subject_row(self, connection: Connection, subject: str) -> tuple[int, bool]:
        """Find the subject's row or add it; tells whether it was added."""
        found = self._first_subject(connection, subject)
        if found is not None:
            return found.id, False
        values = {
            "gallery": self.gallery_id,
            "subject": subject,
            "created_at": now(),
            "token": secrets.token_hex(16),
        }
        added = insert(subjects).values(values).returning(subjects.c.id)
        return connection.execute(added).scalar_one(), True

    def _insert_sample(self, connection: Connection, subject_row: int, new: NewSample) -> int:
        packed = new.silhouettes
        values = {
            "sample_id": new.sample_id,
            "gallery": self.gallery_id,
            "subject": subject_row,
            "created_at": now(),
            "frames": 0 if packed is None else packed.shape[0],
            "metadata": new.metadata,
        }
        added = insert(samples).values(values).returning(samples.c.id)
        row: int = connection.execute(added).scalar_one()
        if packed is not None:
            frames, height, width = packed.shape
            shape = {"frames": frames, "height": height, "width": width}
            content = {"sample": row, "format": packed.format, "data": packed.data}
            connection.execute(insert(silhouettes).values(content | shape))
        return row


def packed_from(row: Row[Any]) -> PackedSilhouettes:
    """Read a row of the table `silhouettes`."""
    return PackedSilhouettes((row.frames, row.height, row.width), row.data, row.format)


def insert_embeddings(
    connection: Connection, generation: int, rows: Sequence[int], vectors: NDArray[np.float32]
) -> None:
    """Write embeddings float32 `[N, L]` of N sample rows, none of them in the generation yet."""
    values = [
        {"generation": generation, "sample": row, "vector": pack_embedding(vector)}
        for row, vector in zip(rows, vectors, strict=True)
    ]
    if values:
        connection.execute(insert(embeddings), values)


def _prepare(database: Database, name: str) -> int:
    """Migrate the database and find the gallery's row, or add it; returns its number."""
    wanted = select(galleries.c.id).where(galleries.c.name == name)
    with database.reading() as connection:
        known = connection.scalar(wanted) if is_current(connection) else None
    if known is not None:
        return int(known)
    with database.writing() as connection:
        database.migrate_alone(connection)
        migrate(connection)
        known = connection.scalar(wanted)
        if known is not None:
            return int(known)
        added = insert(galleries).values(name=name, changes=0).returning(galleries.c.id)
        return int(connection.execute(added).scalar_one())


def _count(connection: Connection, table: FromClause, **wanted: int) -> int:
    query = select(func.count()).select_from(table).filter_by(**wanted)
    return int(connection.execute(query).scalar_one())


def _sample(row: Row[Any], model: Model) -> Sample:
    return Sample(
        sample_id=row.sample_id,
        subject=row.subject,
        created_at=datetime.fromisoformat(row.created_at),
        frames=row.frames,
        metadata=json.loads(row.metadata),
        model_id=model.model_id,
    )
