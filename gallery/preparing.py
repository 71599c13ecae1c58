"""Making a store ready to use: its tables, its master key, and the galleries that it holds."""

from typing import NamedTuple

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from gallery.database import Database
from gallery.errors import GalleryNotFound
from gallery.generations import lock
from gallery.master_keys import check_master_key, is_adopted
from gallery.migrations import is_current, migrate
from gallery.schema import EMBEDDINGS_ONLY, galleries, samples, silhouettes, subjects


class GallerySummary(NamedTuple):
    """A gallery in a list."""

    name: str
    retention: str
    subjects: int
    samples: int


def prepare(database: Database) -> None:
    """Migrate the database and take its master key over, where either is to be done.

    Raises:
        StoreTooNew: a newer version of metagait wrote it.
        WrongMasterKey: it is encrypted under another master key.

    """
    with database.reading() as connection:
        ready = is_current(connection) and is_adopted(connection)
        if ready:
            check_master_key(connection)
    if ready:
        return
    with database.writing() as connection:
        database.migrate_alone(connection)
        migrate(connection)
        check_master_key(connection, adopt=True)


def find_gallery(database: Database, name: str) -> int:
    """Find the number of a gallery.

    Raises:
        GalleryNotFound: the database holds none of this name.

    """
    with database.reading() as connection:
        known = _find(connection, name)
    if known is None:
        raise GalleryNotFound(
            f"expected a gallery of this store, got {name!r}, which is not in it: make it with "
            "`metagait galleries`"
        )
    return int(known.id)


def find_or_make_gallery(database: Database, name: str) -> tuple[int, bool]:
    """Find the number of a gallery or add it; tells whether it was added."""
    with database.reading() as connection:
        known = _find(connection, name)
    if known is not None:
        return int(known.id), False
    with database.writing() as connection:
        database.migrate_alone(connection)  # the one lock that stands above all galleries
        known = _find(connection, name)
        if known is not None:
            return int(known.id), False
        added = insert(galleries).values(name=name, changes=0).returning(galleries.c.id)
        return int(connection.execute(added).scalar_one()), True


def list_galleries(database: Database) -> tuple[GallerySummary, ...]:
    """List every gallery of the database by name."""
    people = (
        select(func.count())
        .where(subjects.c.gallery == galleries.c.id)
        .correlate(galleries)
        .scalar_subquery()
    )
    walks = (
        select(func.count())
        .where(samples.c.gallery == galleries.c.id)
        .correlate(galleries)
        .scalar_subquery()
    )
    query = select(galleries.c.name, galleries.c.retention, people, walks).order_by(
        galleries.c.name
    )
    with database.reading() as connection:
        return tuple(GallerySummary(*row) for row in connection.execute(query))


def set_retention(database: Database, gallery: int, retention: str) -> int:
    """Choose what a gallery keeps from now on; returns how many silhouettes were deleted.

    `embeddings-only` deletes those that are there, for good. `keep` brings none back.
    """
    of_gallery = select(samples.c.id).where(samples.c.gallery == gallery)
    with database.writing() as connection:
        lock(connection, gallery)
        chosen = update(galleries).where(galleries.c.id == gallery)
        connection.execute(chosen.values(retention=retention))
        if retention != EMBEDDINGS_ONLY:
            return 0
        deleted = connection.execute(
            delete(silhouettes).where(silhouettes.c.sample.in_(of_gallery))
        ).rowcount
        with_frames = and_(samples.c.gallery == gallery, samples.c.frames > 0)
        connection.execute(update(samples).where(with_frames).values(frames=0))
    database.scrub()
    return int(deleted)


def _find(connection: Connection, name: str) -> Row[tuple[int]] | None:
    return connection.execute(select(galleries.c.id).where(galleries.c.name == name)).first()
