"""The database connection: transactions, locks, and the removal of deleted bytes."""

import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exc, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from gallery.ciphers import Vault
from gallery.connecting import WRITES, connect
from gallery.errors import NotScrubbed, RebuildRefused, StoreUnavailable
from gallery.translating import in_our_words
from gallery.wiping import Wiped, vacuum, wipe_file

# Seconds of silence after which a server is checked for being alive: see `gallery.patience`.
_SILENT_S = 5.0
_VAULT = "metagait_vault"
# Arbitrary numbers that only this program uses.
_MIGRATION_LOCK, _KEYS_LOCK = 0x6D657461, 0x6D65746B
_LEFT = {
    Wiped.HELD: "another process that is still reading it: what was deleted may remain in the "
    "database's files until the service is started next",
    Wiped.TOO_LARGE: "a file too large to do that in passing: copies of what was deleted may "
    "remain in it until `metagait scrub` has run",
}


class Database:
    """A SQLite file in a folder, or any database given as a SQLAlchemy URL."""

    def __init__(
        self, location: str | Path, vault: Vault | None = None, *, silent_s: float = _SILENT_S
    ) -> None:
        """Connect on first use; after `silent_s` of silence a server is checked for life."""
        self._location = location
        self._silent_s = silent_s
        self.vault = vault or Vault()
        self.engine = connect(location, silent_s, {_VAULT: self.vault})
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
        with self._transaction({WRITES: True}) as connection:
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
        with in_our_words(), self.engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            if not connection.scalar(select(func.pg_try_advisory_lock(*key))):
                raise _already_running(work)
            try:
                yield
            finally:
                try:
                    connection.execute(select(func.pg_advisory_unlock(*key)))
                except exc.DBAPIError:
                    # The work is done, and the lock ends with the connection, broken or not.
                    connection.invalidate()

    def scrub(self, *, at_any_size: bool = False) -> Wiped:
        """Remove deleted bytes from the database's files; see `gallery.wiping`."""
        if self._is_sqlite:
            return wipe_file(self.engine, at_any_size=at_any_size)
        return vacuum(self.engine)

    def scrub_or_say(self, *, at_any_size: bool = False) -> None:
        """Scrub at the end of a command, after which nobody would retry it.

        Raises:
            NotScrubbed: something is left.

        """
        wiped = self.scrub(at_any_size=at_any_size)
        if wiped is not Wiped.ALL:
            raise NotScrubbed(
                f"it is done, but expected to wipe the database's files, got {_LEFT[wiped]}"
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

    @contextmanager
    def _transaction(self, options: dict[str, Any]) -> Iterator[Connection]:
        with in_our_words(self._file), self.engine.connect() as plain:
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
