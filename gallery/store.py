"""The truth: subjects, samples, silhouettes and embeddings of one gallery, in SQL.

Every method is one transaction; once it returns, its result is on the disk. Samples are inserted by
`gallery.enrolling`, deleted by `gallery.erasing` and re-embedded by `gallery.next_generation`.
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, FromClause, func, select

from gallery.ciphers import MasterKey, Vault
from gallery.contents import (
    STORED_EMBEDDINGS,
    STORED_SILHOUETTES,
    readable_embeddings,
    silhouettes_from,
)
from gallery.database import Database, Unindexed, vault_of
from gallery.errors import SilhouettesNotKept
from gallery.finding import (
    find_sample,
    find_subject,
    no_such_subject,
)
from gallery.generations import (
    Head,
    Model,
    adopt_if_empty,
    lock,
    model_sha256,
    note_model_file,
    read_head,
    was_replaced,
)
from gallery.preparing import find_gallery, find_or_make_gallery, prepare
from gallery.schema import (
    embeddings,
    galleries,
    samples,
    subjects,
)


class Counts(NamedTuple):
    """How much a gallery holds; `embedded` counts the embeddings of one generation."""

    subjects: int
    samples: int
    embedded: int


class Kept(NamedTuple):
    """What a gallery retains and how, as the fields of the same names in `GalleryStatus`."""

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
        """Open the gallery `name`, creating the database if it is missing.

        With `make`, the tables and the gallery are created as well.

        Raises:
            GalleryNotFound: there is no such gallery, and `make` is false.
            StoreUnavailable: the database cannot be opened, or has no tables and `make` is false.
            StoreTooNew: a newer version of metagait wrote it.
            WrongMasterKey: it is encrypted under a different master key from the one given.

        """
        database = Database(location, Vault(master_key))
        with database.closed_on_error():
            prepare(database, make=make)
            number = (find_or_make_gallery if make else find_gallery)(database, name)
        return cls(database, name, number)

    def again(self) -> Self:
        """Open the same gallery a second time; the caller closes it separately."""
        return type(self)(self.database.again(), self.name, self.gallery_id)

    def close(self) -> None:
        """Close the database; no writes are pending."""
        self.database.close()

    def head(self) -> Head:
        """Return what an index has to agree with: live generation, its model, last change."""
        with self.database.reading() as connection:
            return read_head(connection, self.gallery_id)

    def adopt(self, model: Model) -> None:
        """Make `model` the live one if the gallery holds no samples; otherwise change nothing."""
        if self.head().model != model:
            with self.database.writing() as connection:
                lock(connection, self.gallery_id)
                adopt_if_empty(connection, self.gallery_id, model)

    def was_replaced(self, model: Model) -> bool:
        """Tell whether a model used to be live and another one is live now."""
        with self.database.reading() as connection:
            return was_replaced(connection, self.gallery_id, model)

    def note_model_file(self, model: Model, sha256: str) -> None:
        """Store the SHA-256 (64 hex digits) of a model's file."""
        with self.database.writing() as connection:
            note_model_file(connection, self.gallery_id, model, sha256)

    def model_sha256(self) -> str | None:
        """Return the SHA-256 of the live generation's model file; None if it was never recorded."""
        with self.database.reading() as connection:
            head = read_head(connection, self.gallery_id)
            return model_sha256(connection, head.generation)

    def embeddings_of(self, subject: str, head: Head) -> tuple[list[str], NDArray[np.float32]]:
        """Return a subject's sample ids and its embeddings float32 `[N, L]` in one generation.

        Embeddings that cannot be read are left out, as an index leaves them out.

        Raises:
            SubjectNotFound: there is no such subject, or it has no embeddings in this generation.
            SampleDamaged: none of the embeddings can be read.

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
            read = readable_embeddings(connection, rows, head.model.embedding_length)
        if not read.places:
            raise read.damaged[0]
        return [rows[place].sample_id for place in read.places], read.embeddings

    def silhouettes(self, sample_id: str) -> NDArray[np.uint8]:
        """Return a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: only its embedding is stored.
            SampleDamaged: the stored silhouettes can no longer be read.

        """
        with self.database.reading() as connection:
            found = find_sample(connection, self, sample_id)
            query = STORED_SILHOUETTES.where(samples.c.id == found.id)
            kept = connection.execute(query).first()
            if kept is None:
                raise SilhouettesNotKept(
                    f"expected silhouettes of the sample {sample_id}, "
                    "got a sample of which the embedding alone is kept"
                )
            return silhouettes_from(connection, kept)

    def counts(self, connection: Connection, generation: int) -> Counts:
        """Count what the gallery holds, as seen by the caller's transaction."""
        return Counts(
            subjects=_count(connection, subjects, gallery=self.gallery_id),
            samples=_count(connection, samples, gallery=self.gallery_id),
            embedded=_count(connection, embeddings, generation=generation),
        )

    def retention(self, connection: Connection) -> str:
        """Return the gallery's retention setting: `keep`, or `embeddings-only`."""
        query = select(galleries.c.retention).where(galleries.c.id == self.gallery_id)
        return str(connection.execute(query).scalar_one())

    def kept(self, connection: Connection) -> Kept:
        """Return what the gallery retains, as seen by the caller's transaction."""
        # Scan the tables in disk order: going through an index takes ten times as long.
        without = (Unindexed(samples.c.gallery) == self.gallery_id) & (samples.c.frames == 0)
        is_plain = subjects.c.wrapped_key.is_(None)
        plain = (Unindexed(subjects.c.gallery) == self.gallery_id) & is_plain
        return Kept(
            retention=self.retention(connection),
            without_silhouettes=connection.scalar(select(func.count()).where(without)) or 0,
            encrypted=vault_of(connection).master is not None,
            plain_subjects=connection.scalar(select(func.count()).where(plain)) or 0,
        )


def _count(connection: Connection, table: FromClause, **wanted: int) -> int:
    query = select(func.count()).select_from(table).filter_by(**wanted)
    return int(connection.execute(query).scalar_one())
