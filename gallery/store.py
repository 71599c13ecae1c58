"""The truth: subjects, samples, silhouettes and embeddings of one gallery, in SQL.

Every method is one transaction; what it returned is on the disk. Samples are written by
`gallery.enrolling`, deleted by `gallery.erasing`, and embedded anew by `gallery.next_generation`.
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

        Its tables and the gallery are made as well, with `make`.

        Raises:
            GalleryNotFound: there is no such gallery, and it is not to be made.
            StoreUnavailable: the database cannot be opened, or has no tables to be found in it.
            StoreTooNew: a newer version of metagait wrote it.
            WrongMasterKey: it is encrypted under another master key than the one given.

        """
        database = Database(location, Vault(master_key))
        with database.closed_on_error():
            prepare(database, make=make)
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

        Those that cannot be read are left out, as an index leaves them out.

        Raises:
            SubjectNotFound: there is no such subject, or the generation knows nothing of it.
            SampleDamaged: none of them can be read.

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
        """Read a sample's silhouettes uint8 `[T, H, W]`, as they were enrolled.

        Raises:
            SampleNotFound: there is no such sample.
            SilhouettesNotKept: it was enrolled by its embedding alone.
            SampleDamaged: they cannot be read any more.

        """
        with self.database.reading() as connection:
            found = find_sample(connection, self, sample_id)
            query = STORED_SILHOUETTES.where(samples.c.id == found.id)
            kept = connection.execute(query).first()
            if kept is None:
                raise SilhouettesNotKept(
                    f"expected silhouettes of the sample {sample_id}, "
                    "got a sample that was enrolled by its embedding alone"
                )
            return silhouettes_from(connection, kept)

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
        # Read as they lie on the disk; in the order of an index it takes ten times as long.
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
