"""Prepares a store for use: its tables, its master key, and the row of a gallery."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from gallery.adopted_key import check_master_key, is_adopted
from gallery.ciphers import MasterKey, Vault
from gallery.database import Database
from gallery.errors import GalleryNotFound, StoreUnavailable
from gallery.migrations import is_current, migrate, number_of
from gallery.schema import galleries

BY_SERVICE = "service"
"""The index kind of a gallery that uses the service's setting."""


def open_prepared(
    location: str | Path, *, master_key: MasterKey | None = None, make: bool = True
) -> Database:
    """Open a whole store, creating the database if it is missing, and with `make` its tables.

    Raises:
        StoreUnavailable: the database cannot be opened, or has no tables and `make` is false.
        StoreTooNew: a newer version of metagait wrote it.
        WrongMasterKey: it is encrypted under a different master key from the one given.

    """
    database = Database(location, Vault(master_key))
    with database.closed_on_error():
        prepare(database, make=make)
    return database


def prepare(database: Database, *, make: bool = True) -> None:
    """Migrate the database and adopt its master key, if either is needed.

    Raises:
        StoreUnavailable: it has no tables, and `make` is false.
        StoreTooNew: a newer version of metagait wrote it.
        WrongMasterKey: it is encrypted under another master key.

    """
    with database.reading() as connection:
        if not make:
            require_tables(connection)
        ready = is_current(connection) and is_adopted(connection)
        if ready:
            check_master_key(connection)
    if ready:
        return
    with database.writing() as connection:
        database.migrate_alone(connection)
        migrate(connection)
        check_master_key(connection, adopt=True)


def require_tables(connection: Connection) -> None:
    """Refuse a database that is not a store yet.

    Raises:
        StoreUnavailable: it has no tables of ours.

    """
    if number_of(connection) is None:
        raise StoreUnavailable(
            "expected the tables of a gallery in the database, got none: `metagait serve` makes "
            "them, or `metagait restore`"
        )


def find_gallery(database: Database, name: str) -> int:
    """Return the number of a gallery.

    Raises:
        GalleryNotFound: there is none of that name.

    """
    with database.reading() as connection:
        return require_gallery(connection, name)


def require_gallery(connection: Connection, name: str) -> int:
    """Return the number of a gallery, as the caller's transaction sees it.

    Raises:
        GalleryNotFound: there is none of that name.

    """
    known = _find(connection, name)
    if known is None or known.deleted_at is not None:
        raise no_such_gallery(name)
    return int(known.id)


def find_or_make_gallery(database: Database, name: str) -> int:
    """Return the number of a gallery, adding it if it is missing; see `make_gallery`."""
    with suppress(GalleryNotFound):
        return find_gallery(database, name)
    with database.writing() as connection:
        return make_gallery(database, connection, name)[0]


def make_gallery(database: Database, connection: Connection, name: str) -> tuple[int, bool]:
    """Return a gallery's number, adding it in the caller's transaction; and whether it was added.

    A deleted gallery comes back empty, with its former audit log and receipts.
    """
    database.migrate_alone(connection)  # the one lock above all galleries
    known = _find(connection, name)
    if known is None:
        fresh = {"name": name, "changes": 0, "index_kind": BY_SERVICE}
        added = insert(galleries).values(fresh).returning(galleries.c.id)
        return int(connection.execute(added).scalar_one()), True
    was_deleted = known.deleted_at is not None
    if was_deleted:
        of_it = update(galleries).where(galleries.c.id == known.id)
        connection.execute(of_it.values(deleted_at=None))
    return int(known.id), was_deleted


def no_such_gallery(name: str) -> GalleryNotFound:
    """Return the error for a gallery that is not in the store."""
    return GalleryNotFound(f"expected a gallery of this store, got {name!r}, which does not exist")


def _find(connection: Connection, name: str) -> Row[Any] | None:
    is_it = galleries.c.name == name
    query: Select[Any] = select(galleries.c.id, galleries.c.deleted_at).where(is_it)
    return connection.execute(query).first()
