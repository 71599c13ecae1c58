"""The database connection: transactions, durability, translated errors, all SQLite specifics."""

import fcntl
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, func, make_url, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from gallery.ciphers import Vault
from gallery.errors import (
    InvalidText,
    NotScrubbed,
    RebuildRefused,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from gallery.read_only import reader

FILE_NAME = "metagait.db"

# Seconds that a writer waits for another process's transaction to end.
_BUSY_SECONDS = 30
# Seconds that a scrub waits for readers; if that is not enough, it is retried later.
_SCRUB_SECONDS = 2
# Seconds (the last one milliseconds) until an unreachable server is given up.
_SERVER_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
# Seconds of silence after which a server is checked for being alive: see `gallery.patience`.
_SILENT_S = 5.0
_WRITES, _VAULT = "metagait_writes", "metagait_vault"
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # FULL: acknowledged writes survive a power cut, not only a killed process.
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Overwrite deleted rows with zeros instead of only unlinking them.
    "PRAGMA secure_delete=ON",
)
_POSTGRES_DISK_FULL = "53100"
_POSTGRES_NO_PRIVILEGE = "42501"
# The tables that an erasure deletes from.
_WITH_PEOPLE = ("subjects", "samples", "silhouettes", "embeddings", "consents")
# Arbitrary numbers that only this program uses.
_MIGRATION_LOCK, _KEYS_LOCK = 0x6D657461, 0x6D65746B


class Database:
    """A SQLite file in a folder, or any database given as a SQLAlchemy URL."""

    def __init__(
        self, location: str | Path, vault: Vault | None = None, *, silent_s: float = _SILENT_S
    ) -> None:
        """Connect on first use; after `silent_s` of silence a server is checked for life."""
        self._location = location
        self._silent_s = silent_s
        self.vault = vault or Vault()
        self.engine = _engine(_url(location), self.vault, silent_s)
        self._is_sqlite = self.engine.dialect.name == "sqlite"
        self._file = self.engine.url.database if self._is_sqlite else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction whose statements all see the same state.

        Raises:
            StoreUnavailable: the database cannot be opened or read.

        """
        options: dict[str, Any] = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._transaction(options) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that commits at the end of the block and rolls back on an error.

        Raises:
            StoreUnavailable: the database cannot be opened or written.
            StoreFull: there is no space left.

        """
        with self._transaction({_WRITES: True}) as connection:
            yield connection

    def migrate_alone(self, connection: Connection) -> None:
        """Keep other processes from migrating until the transaction of `connection` ends."""
        self._take_turns(connection, _MIGRATION_LOCK)

    def make_keys_alone(self, connection: Connection) -> None:
        """Keep other processes from making API keys until the transaction of `connection` ends."""
        self._take_turns(connection, _KEYS_LOCK)

    def _take_turns(self, connection: Connection, number: int) -> None:
        if not self._is_sqlite:  # SQLite allows only one writer anyway
            connection.execute(select(func.pg_advisory_xact_lock(number)))

    @contextmanager
    def alone(self, work: str, number: int) -> Iterator[None]:
        """Hold a lock for work of one process at a time; it is freed if the process is killed.

        Raises:
            RebuildRefused: another process is already doing it.

        """
        with self._locked_file(work, number) if self._is_sqlite else self._locked_row(work, number):
            yield

    @contextmanager
    def _locked_file(self, work: str, number: int) -> Iterator[None]:
        path = Path(str(self.engine.url.database)).with_name(f"{work}-{number}.lock")
        try:
            opened = path.open("w", encoding="ascii")
        except OSError as error:
            raise StoreUnavailable(f"expected to write {path}, got: {error.strerror}") from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _already_running(work) from None
            yield

    @contextmanager
    def _locked_row(self, work: str, number: int) -> Iterator[None]:
        key = zlib.crc32(work.encode()) - 2**31, number
        with _in_our_words(), self.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            if not connection.scalar(select(func.pg_try_advisory_lock(*key))):
                raise _already_running(work)
            try:
                yield
            finally:
                # A connection that broke has released the lock already, and the work is done.
                with suppress(exc.DBAPIError):
                    connection.execute(select(func.pg_advisory_unlock(*key)))

    def scrub(self) -> bool:
        """Remove erased bytes from the database's files; False if a reader holds SQLite's log."""
        if not self._is_sqlite:
            self._vacuum()
            return True
        with _in_our_words():
            connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_SCRUB_SECONDS * 1000}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy = bool((cursor.fetchone() or [True])[0])
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        except sqlite3.OperationalError:
            connection.invalidate()
            return False
        finally:
            connection.close()
        return not busy

    def scrub_or_say(self) -> None:
        """Scrub at the end of a command, after which nobody would retry it.

        Raises:
            NotScrubbed: a reader still holds the write-ahead log.

        """
        if not self.scrub():
            raise NotScrubbed(
                "it is done, but expected to cut the write-ahead log afterwards, got another "
                "process that is still reading it: what was deleted may remain in that file until "
                "the service is started next"
            )

    @property
    def erased_bytes(self) -> str:
        """What `scrub` does to erased bytes: `overwritten`, or `vacuumed` on a server."""
        return "overwritten" if self._is_sqlite else "vacuumed"

    def again(self) -> "Database":
        """Open a second connection pool to the same database."""
        return Database(self._location, self.vault, silent_s=self._silent_s)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close the database if the block, which completes its opening, raises."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _vacuum(self) -> None:
        """Have the server free the erased rows that no transaction can see any more."""
        with _in_our_words(), self.engine.connect() as plain:
            alone = plain.execution_options(isolation_level="AUTOCOMMIT")
            alone.exec_driver_sql(f"VACUUM {', '.join(_WITH_PEOPLE)}")

    @contextmanager
    def _transaction(self, options: dict[str, Any]) -> Iterator[Connection]:
        with _in_our_words(self._file), self.engine.connect() as plain:
            connection = plain.execution_options(**options)
            with connection.begin():
                yield connection


class Unindexed(FunctionElement[Any]):
    """Wraps a column so that SQLite does not use an index for it; servers are unaffected.

    SQLite has no statistics about the rows and assumes that any equality is selective. To return
    the next few rows of a gallery it would then read and sort everybody in it.
    """

    name = "unindexed"
    inherit_cache = True


@compiles(Unindexed)
def _as_it_is(element: Unindexed, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(Unindexed, "sqlite")
def _with_a_plus(element: Unindexed, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


def vault_of(connection: Connection) -> Vault:
    """Return what the connection's database encrypts and decrypts contents with."""
    vault: Vault = connection.get_execution_options()[_VAULT]
    return vault


def _already_running(work: str) -> RebuildRefused:
    return RebuildRefused(f"expected one {work} of a gallery at a time, got a second one")


def _url(location: str | Path) -> str | URL:
    if isinstance(location, str) and "://" in location:
        return location
    folder = Path(location)
    try:
        # Gait is biometric data: only the owner may enter a folder that we create.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file too, as others may enter an existing folder: SQLite would make it readable to
        # all, but accepts an empty file, and gives the write-ahead log the same mode.
        if not (folder / FILE_NAME).exists():
            (folder / FILE_NAME).touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"expected {folder} to be a folder for the gallery, got: {error.strerror}"
        ) from error
    # Not as text, in which a question mark would end the name.
    return URL.create("sqlite", database=str(folder / FILE_NAME))


def _engine(location: str | URL, vault: Vault, silent_s: float) -> Engine:
    try:
        url = make_url(location)
        is_sqlite = url.get_backend_name() == "sqlite"
        engine = create_engine(
            url,
            connect_args={"timeout": _BUSY_SECONDS} if is_sqlite else _patience(url),
            execution_options={_VAULT: vault},
            # Lets the next request reconnect after a server was restarted.
            pool_pre_ping=not is_sqlite,
            # Errors are logged, and enrolled people's data does not belong in a log.
            hide_parameters=True,
        )
    except (exc.NoSuchModuleError, ImportError) as error:
        raise StoreUnavailable(
            f"expected a folder or a SQLAlchemy URL with an installed driver, got: {error}"
        ) from error
    except (exc.ArgumentError, ValueError):
        # Show neither the URL nor the cause: either may contain part of the password.
        raise StoreUnavailable(
            "expected a folder or a SQLAlchemy URL, got a URL that cannot be read: in a password "
            "each of @ : / % is written as %40 %3A %2F %25"
        ) from None
    if is_sqlite:
        if connect := reader(url.database, _BUSY_SECONDS):
            event.listen(engine, "do_connect", connect)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif url.get_driver_name() == "psycopg":
        from gallery.patience import connector

        event.listen(engine, "do_connect", connector(silent_s))
    return engine


def _patience(url: URL) -> dict[str, int]:
    """Return libpq timeouts that the URL does not set itself; by default it would wait for ever."""
    if not url.get_driver_name().startswith("psycopg"):
        return {}
    return {name: value for name, value in _SERVER_PATIENCE.items() if name not in url.query}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions itself; `_begin_sqlite` opens the right kind.
    connection.isolation_level = None
    connection.text_factory = _as_text
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _as_text(stored: bytes) -> str:
    """Decode damaged text with bad bytes as `\\xff`; by default SQLite fails the whole query."""
    return stored.decode("utf-8", "backslashreplace")


def _begin_sqlite(connection: Connection) -> None:
    # Writers lock immediately: a transaction that reads first and then writes may be refused.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _in_our_words(file: str | None = None) -> Iterator[None]:
    try:
        yield
    except (exc.IntegrityError, exc.ProgrammingError) as error:
        if _code(error) == _POSTGRES_NO_PRIVILEGE:
            raise _translated(error) from error
        raise  # our own bug, not a state of the database
    except exc.DataError as error:  # PostgreSQL rejects text with NUL, even in a query
        raise InvalidText(f"expected what the database can hold, got: {error.orig}") from error
    except exc.DBAPIError as error:
        raise _translated(error, file) from error
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"expected a free database connection, got: {error}") from error


def _translated(error: exc.DBAPIError, file: str | None = None) -> StoreError:
    cause = error.orig
    if _code(error) in ("SQLITE_FULL", _POSTGRES_DISK_FULL):
        return StoreFull(f"expected room to write in the database, got: {cause}")
    where = f" in {file}" if file else ""
    if _code(error) == "SQLITE_READONLY":
        return StoreUnavailable(f"expected a database that can be written{where}, got: {cause}")
    return StoreUnavailable(
        f"expected a database that can be read and written{where}, got: {cause}"
    )


def _code(error: exc.DBAPIError) -> str:
    cause = error.orig
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
