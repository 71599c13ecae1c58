"""Removes what was deleted from the files of a database.

`secure_delete` makes SQLite overwrite a row where it is deleted. But to keep its trees balanced it
now and then moves rows to other pages, and what stood there stays in space that counts as free and
is overwritten by nothing. So after a deletion the whole file is written anew as well (VACUUM), and
the write-ahead log is cut. `user_version` in the file says that this is owed, also after a crash.

A server frees deleted rows, but not as long as a transaction from before can still see them.
"""

import secrets
import sqlite3
import time
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, exc, text

from gallery.connecting import BUSY_SECONDS
from gallery.errors import StoreFull
from gallery.translating import in_our_words

AT_ONCE_BYTES = 64 * 1024 * 1024
"""Up to this size SQLite's file is written anew with every deletion, which takes about a second."""
# Seconds to wait for readers; if that is not enough, it is tried again later.
_PATIENCE_S = 2
_LOOK_S = 0.05
# Codes of the errors that somebody else's reading or writing causes.
_HELD_BY_OTHERS = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Values of `user_version`; a file that older versions wrote has 0 as well. While a process writes
# the file anew, it has a random number of that process.
_OWED, _CLEAN = 0, 1
# The tables that an erasure deletes from.
_WITH_PEOPLE = ("subjects", "samples", "silhouettes", "embeddings", "consents")

_BEGUN = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
# `age` counts transactions backwards from now, whichever way their 32 bits have turned since.
_SEEN_FROM_BEFORE = text(
    "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
    "AND backend_type IN ('client backend', 'walsender') "
    "AND (datname = current_database() OR datname IS NULL) "
    "AND age(backend_xmin) > age(mod(CAST(:begun AS numeric), 4294967296)::text::xid)"
)


class Wiped(Enum):
    """How much of what was deleted is gone from the files."""

    ALL = "all"
    HELD = "held"
    """Somebody still reads it: what is left is removed at the next try."""
    TOO_LARGE = "too large"
    """Copies may be left in SQLite's file, which is too large to be written anew in passing."""


def owe(connection: Connection) -> None:
    """Note, in a transaction that deletes, that the file has to be written anew."""
    _note(connection, _OWED)


def owe_nothing(connection: Connection) -> None:
    """Note, in a transaction that fills an empty store, that nothing was deleted from it."""
    _note(connection, _CLEAN)


def _note(connection: Connection, state: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version={state}")


def wipe_file(engine: Engine, *, at_any_size: bool = False) -> Wiped:
    """Write SQLite's file anew, if that is owed and it is small enough, and cut its log.

    With `at_any_size` also if it is large; temporary files are then beside it.

    Raises:
        StoreFull: with `at_any_size`, there is no room for that.

    """
    with in_our_words():
        connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1000}")
        wiped = _write_anew(cursor, at_any_size=at_any_size)
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        is_held = bool((cursor.fetchone() or [True])[0])
        # The connection read the whole file; it would keep up to 2 MiB of it.
        cursor.execute("PRAGMA shrink_memory")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    except sqlite3.Error as error:
        connection.invalidate()
        if at_any_size and error.sqlite_errorcode & 0xFF not in _HELD_BY_OTHERS:
            raise StoreFull(
                f"expected room for two more copies of {engine.url.database}, got: {error}"
            ) from error
        return Wiped.HELD
    finally:
        connection.close()
    return Wiped.HELD if is_held else wiped


def _write_anew(cursor: Any, *, at_any_size: bool) -> Wiped:
    """Write the file anew if that is owed."""
    if _number(cursor, "user_version") == _CLEAN:
        return Wiped.ALL
    size = _number(cursor, "page_count") * _number(cursor, "page_size")
    if size > AT_ONCE_BYTES and not at_any_size:
        return Wiped.TOO_LARGE
    if size <= AT_ONCE_BYTES:
        cursor.execute("PRAGMA temp_store=MEMORY")
    else:  # only ever in a command's own process, for which this is set
        _make_temporary_files_beside(cursor)
    ours = 2 + secrets.randbelow(2**30)
    # Not kept among the prepared statements, of which each would be another one.
    cursor.executescript(f"PRAGMA user_version={ours}")
    cursor.execute("VACUUM")
    cursor.execute("BEGIN IMMEDIATE")
    # Another process may have deleted more meanwhile: then it is owed again.
    is_clean = _number(cursor, "user_version") == ours
    if is_clean:
        cursor.execute(f"PRAGMA user_version={_CLEAN}")
    cursor.execute("COMMIT")
    return Wiped.ALL if is_clean else Wiped.HELD


def _make_temporary_files_beside(cursor: Any) -> None:
    """Have SQLite make its temporary files beside the database: where others are, room is scarce.

    In a container, for instance, that place is memory.
    """
    (file,) = (row[2] for row in cursor.execute("PRAGMA database_list") if row[1] == "main")
    folder = str(Path(file).parent).replace("'", "''")
    cursor.execute(f"PRAGMA temp_store_directory='{folder}'")
    cursor.execute("PRAGMA temp_store=FILE")


def _number(cursor: Any, pragma: str) -> int:
    return int(cursor.execute(f"PRAGMA {pragma}").fetchone()[0])


def vacuum(engine: Engine) -> Wiped:
    """Have a server free the deleted rows, as soon as no transaction can see them any more."""
    with in_our_words(), engine.connect() as plain:
        alone = plain.execution_options(isolation_level="AUTOCOMMIT")
        begun, ends = alone.scalar(_BEGUN), time.monotonic() + _PATIENCE_S
        while alone.scalar(_SEEN_FROM_BEFORE, {"begun": begun}):
            if time.monotonic() > ends:
                return Wiped.HELD
            time.sleep(_LOOK_S)
        try:
            alone.exec_driver_sql(f"VACUUM {', '.join(_WITH_PEOPLE)}")
        except exc.OperationalError as error:
            if error.connection_invalidated:
                raise
            return Wiped.HELD  # a time limit of the role: no reason not to open, or to erase
    return Wiped.ALL
