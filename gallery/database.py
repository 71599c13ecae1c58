"""The connection to the database: transactions, durability, and errors in the gallery's words.

Everything that is particular to SQLite stands here and nowhere else.
"""

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

FILE_NAME = "metagait.db"

# Seconds that a writer waits for another process's transaction to end.
_BUSY_SECONDS = 30
# Seconds that a scrub waits for readers; who could not scrub tries again later.
_SCRUB_SECONDS = 2
# Seconds, and milliseconds, in which a server that cannot be reached any more is given up.
_SERVER_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
# Seconds without a word after which a server is asked whether it lives: `gallery.patience`.
_SILENT_S = 5.0
_WRITES, _VAULT = "metagait_writes", "metagait_vault"
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # FULL: what was acknowledged survives a power cut, not only a killed process.
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Erased rows are overwritten with zeros, not only unlinked.
    "PRAGMA secure_delete=ON",
)
_POSTGRES_DISK_FULL = "53100"
_POSTGRES_NO_PRIVILEGE = "42501"
# Tables from which an erasure takes rows.
_WITH_PEOPLE = ("subjects", "samples", "silhouettes", "embeddings", "consents")
# Any numbers that only this program uses.
_MIGRATION_LOCK, _KEYS_LOCK = 0x6D657461, 0x6D65746B


class Database:
    """A SQLite file (in a folder) or a database by SQLAlchemy URL."""

    def __init__(
        self, location: str | Path, vault: Vault | None = None, *, silent_s: float = _SILENT_S
    ) -> None:
        """Connect when it is first used; a server may say nothing for `silent_s`."""
        self._location = location
        self._silent_s = silent_s
        self.vault = vault or Vault()
        self.engine = _engine(_url(location), self.vault, silent_s)
        self._is_sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction whose statements all see the same moment.

        Raises:
            StoreUnavailable: the database cannot be opened or read.

        """
        options: dict[str, Any] = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._transaction(options) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block, and undone on an error.

        Raises:
            StoreUnavailable: the database cannot be opened or written.
            StoreFull: there is no room left.

        """
        with self._transaction({_WRITES: True}) as connection:
            yield connection

    def migrate_alone(self, connection: Connection) -> None:
        """Let no other process migrate until the transaction of `connection` ends."""
        self._take_turns(connection, _MIGRATION_LOCK)

    def make_keys_alone(self, connection: Connection) -> None:
        """Let no other process make an API key until the transaction of `connection` ends."""
        self._take_turns(connection, _KEYS_LOCK)

    def _take_turns(self, connection: Connection, number: int) -> None:
        if not self._is_sqlite:  # where a writing transaction is alone anyway
            connection.execute(select(func.pg_advisory_xact_lock(number)))

    @contextmanager
    def alone(self, work: str, number: int) -> Iterator[None]:
        """Do work that only one process may do at a time; a killed one is let go of at once.

        Raises:
            RebuildRefused: somebody does it already.

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
                raise _is_done_already(work) from None
            yield

    @contextmanager
    def _locked_row(self, work: str, number: int) -> Iterator[None]:
        key = zlib.crc32(work.encode()) - 2**31, number
        with _in_our_words(), self.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            if not connection.scalar(select(func.pg_try_advisory_lock(*key))):
                raise _is_done_already(work)
            try:
                yield
            finally:
                # A connection that broke meanwhile has let go already; what was done is done.
                with suppress(exc.DBAPIError):
                    connection.execute(select(func.pg_advisory_unlock(*key)))

    def scrub(self) -> bool:
        """Leave no erased bytes in the write-ahead log; False when a reader still holds it."""
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
        """Scrub after what was done, where nobody is there to try again later.

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
        """What `scrub` does to erased bytes: `overwritten`, or `vacuumed` by a server."""
        return "overwritten" if self._is_sqlite else "vacuumed"

    def again(self) -> "Database":
        """Connect to the same database once more."""
        return Database(self._location, self.vault, silent_s=self._silent_s)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Do what is left to do at the opening; when that fails, nobody is left to close this."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _vacuum(self) -> None:
        """Let the server free the rows that were erased, where nobody still sees them."""
        with _in_our_words(), self.engine.connect() as plain:
            alone = plain.execution_options(isolation_level="AUTOCOMMIT")
            alone.exec_driver_sql(f"VACUUM {', '.join(_WITH_PEOPLE)}")

    @contextmanager
    def _transaction(self, options: dict[str, Any]) -> Iterator[Connection]:
        with _in_our_words(), self.engine.connect() as plain:
            connection = plain.execution_options(**options)
            with connection.begin():
                yield connection


class Unindexed(FunctionElement[Any]):
    """A column that SQLite does not look up by an index.

    It knows nothing of the rows and takes any equality for a rare one: for the next few of a
    gallery it then reads and sorts everybody in it. A server knows.
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
    """Give what the database of a connection seals and opens contents with."""
    vault: Vault = connection.get_execution_options()[_VAULT]
    return vault


def _is_done_already(work: str) -> RebuildRefused:
    return RebuildRefused(f"expected one {work} of a gallery at a time, got a second one")


def _url(location: str | Path) -> str:
    if isinstance(location, str) and "://" in location:
        return location
    folder = Path(location)
    try:
        # Gait is biometric data: a folder that we make is its owner's alone.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # So is the database in a folder that others may enter. SQLite makes one for everybody to
        # read, takes an empty file for a new one, and gives its mode to the write-ahead log.
        if not (folder / FILE_NAME).exists():
            (folder / FILE_NAME).touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"expected {folder} to be a folder for the gallery, got: {error.strerror}"
        ) from error
    return f"sqlite:///{folder / FILE_NAME}"


def _engine(location: str, vault: Vault, silent_s: float) -> Engine:
    try:
        url = make_url(location)
        is_sqlite = url.get_backend_name() == "sqlite"
        engine = create_engine(
            url,
            connect_args={"timeout": _BUSY_SECONDS} if is_sqlite else _patience(url),
            execution_options={_VAULT: vault},
            # A server that was restarted is found again by the next request.
            pool_pre_ping=not is_sqlite,
            # Errors are logged, and what people enrolled does not belong in a log.
            hide_parameters=True,
        )
    except (exc.NoSuchModuleError, ImportError) as error:
        raise StoreUnavailable(
            f"expected a folder or a SQLAlchemy URL with an installed driver, got: {error}"
        ) from error
    except (exc.ArgumentError, ValueError):
        # Neither the URL nor the cause is shown: a piece of the password may be in either.
        raise StoreUnavailable(
            "expected a folder or a SQLAlchemy URL, got a URL that cannot be read: in a password "
            "each of @ : / % is written as %40 %3A %2F %25"
        ) from None
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif url.get_driver_name() == "psycopg":
        from gallery.patience import connector

        event.listen(engine, "do_connect", connector(silent_s))
    return engine


def _patience(url: URL) -> dict[str, int]:
    """How long a server may say nothing, where its URL does not; libpq would wait for ever."""
    if not url.get_driver_name().startswith("psycopg"):
        return {}
    return {name: value for name, value in _SERVER_PATIENCE.items() if name not in url.query}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver opens no transaction of its own; `_begin_sqlite` opens the right one.
    connection.isolation_level = None
    connection.text_factory = _as_text
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _as_text(stored: bytes) -> str:
    """Read damaged text with its bytes as `\\xff`, where SQLite refuses the whole query for it."""
    return stored.decode("utf-8", "backslashreplace")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that reads first and writes then may be refused.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except (exc.IntegrityError, exc.ProgrammingError) as error:
        if _code(error) == _POSTGRES_NO_PRIVILEGE:
            raise _translated(error) from error
        raise  # our own bug, not the database's state
    except exc.DataError as error:  # PostgreSQL takes no text with NUL, not even to look for it
        raise InvalidText(f"expected what the database can hold, got: {error.orig}") from error
    except exc.DBAPIError as error:
        raise _translated(error) from error
    except exc.TimeoutError as error:
        raise StoreUnavailable(f"expected a free database connection, got: {error}") from error


def _translated(error: exc.DBAPIError) -> StoreError:
    cause = error.orig
    if _code(error) in ("SQLITE_FULL", _POSTGRES_DISK_FULL):
        return StoreFull(f"expected room to write in the database, got: {cause}")
    return StoreUnavailable(f"expected a database that can be read and written, got: {cause}")


def _code(error: exc.DBAPIError) -> str:
    cause = error.orig
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
