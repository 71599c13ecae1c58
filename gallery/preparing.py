"""Making a store ready to use: its tables, its master key, and the galleries that it holds."""

from sqlalchemy import Connection, Row, insert, select

from gallery.database import Database
from gallery.master_keys import check_master_key, is_adopted
from gallery.migrations import is_current, migrate
from gallery.schema import galleries


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


def _find(connection: Connection, name: str) -> Row[tuple[int]] | None:
    return connection.execute(select(galleries.c.id).where(galleries.c.name == name)).first()
