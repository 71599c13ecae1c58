"""The galleries of one store: list them, create them, and delete those without people.

Deleting keeps the gallery's row, because the audit log and the receipts refer to it. A gallery that
is created again under the same name continues with both, and with nothing else.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Row, Select, Table, delete, func, select, update

from gallery import audit
from gallery.ciphers import MasterKey
from gallery.database import Database
from gallery.errors import GalleryNotEmpty, GalleryNotFound, InvalidGalleryName
from gallery.generations import lock, now
from gallery.preparing import find_gallery, make_gallery, open_prepared, require_gallery
from gallery.rebuild import REBUILD
from gallery.schema import galleries, generations, jobs, samples, subjects
from gallery.settings import reset_settings

MADE, DELETED = "made", "deleted"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class GalleryEntry(NamedTuple):
    """A gallery in the list."""

    name: str
    subjects: int
    samples: int


class Galleries:
    """The galleries of one store. All methods are thread-safe.

    Every method may raise StoreUnavailable, and every method that writes may raise StoreFull.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: dict[int, tuple[int, GalleryEntry]] = {}

    @classmethod
    def open(
        cls, location: str | Path, *, master_key: MasterKey | None = None, make: bool = True
    ) -> Self:
        """Open the store as `gallery.preparing.open_prepared` does, and with its errors."""
        return cls(open_prepared(location, master_key=master_key, make=make))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def all(self) -> tuple[GalleryEntry, ...]:
        """Return the galleries, ordered by name.

        A gallery's rows are counted again only after a change to it, by whichever process.
        """
        query: Select[Any] = (
            select(galleries.c.id, galleries.c.name, galleries.c.changes)
            .where(galleries.c.deleted_at.is_(None))
            .order_by(galleries.c.name)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            return tuple(self._counted_at(connection, row) for row in rows)

    def _counted_at(self, connection: Connection, row: Row[Any]) -> GalleryEntry:
        changes, entry = self._counted.get(row.id, (None, None))
        if entry is None or changes != row.changes:
            people, walks = (_count(connection, table, row.id) for table in (subjects, samples))
            entry = GalleryEntry(row.name, people, walks)
            # A slower reader may put an older count back, which its older number then betrays.
            self._counted[row.id] = row.changes, entry
        return entry

    def make(self, name: str, *, actor: str = audit.LOCAL) -> bool:
        """Create a gallery unless one of that name exists; return whether it was created.

        Args:
            name: 1 to 64 letters, digits, `.`, `_` and `-`, starting with a letter or a digit.
            actor: who made the request, for the audit log.

        Raises:
            InvalidGalleryName: the name does not meet the description above.

        """
        if _NAME.fullmatch(name) is None:
            raise InvalidGalleryName(
                "expected a name of 1 to 64 letters, digits, `.`, `_` and `-` that begins with a "
                f"letter or a digit, got {name[:80]!r}"
            )
        with suppress(GalleryNotFound):
            find_gallery(self._database, name)
            return False
        with self._database.writing() as connection:
            number, made = make_gallery(self._database, connection, name)
            if made:
                audit.append(connection, number, [audit.Entry("gallery", MADE, actor)])
        return made

    def delete(self, name: str, *, actor: str = audit.LOCAL) -> None:
        """Delete a gallery in which nobody is enrolled any more.

        Raises:
            GalleryNotFound: there is none of that name.
            GalleryNotEmpty: somebody is enrolled in it.
            RebuildRefused: it is being rebuilt.

        """
        number = find_gallery(self._database, name)
        with (
            self._database.alone(REBUILD, number),
            self._database.writing() as connection,
        ):
            lock(connection, number)
            require_gallery(connection, name)  # another process may have deleted it meanwhile
            _require_empty(connection, name, number)
            audit.append(connection, number, [audit.Entry("gallery", DELETED, actor)])
            connection.execute(delete(jobs).where(jobs.c.gallery == number))
            connection.execute(delete(generations).where(generations.c.gallery == number))
            reset_settings(connection, number)
            is_it = galleries.c.id == number
            connection.execute(update(galleries).where(is_it).values(deleted_at=now()))


def _count(connection: Connection, table: Table, number: int) -> int:
    of_gallery = select(func.count()).where(table.c.gallery == number)
    return connection.scalar(of_gallery) or 0


def _require_empty(connection: Connection, name: str, number: int) -> None:
    count = _count(connection, subjects, number)
    if count:
        raise GalleryNotEmpty(
            f"expected the gallery {name} without people, got {count} subjects in it: erase them "
            "first, each with its receipt"
        )
