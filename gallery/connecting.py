"""Connects to a database: a SQLite file in a folder, or a server given as a SQLAlchemy URL."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url

from gallery.errors import StoreUnavailable
from gallery.read_only import reader

FILE_NAME = "metagait.db"
WRITES = "metagait_writes"
"""The execution option of a transaction that writes."""
BUSY_SECONDS = 30
"""How long a writer waits for another process's transaction to end."""

# Seconds (the last one milliseconds) until an unreachable server is given up.
_SERVER_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # FULL: acknowledged writes survive a power cut, not only a killed process.
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Overwrite deleted rows with zeros instead of only unlinking them; see `gallery.wiping`.
    "PRAGMA secure_delete=ON",
)


def connect(location: str | Path, silent_s: float, options: dict[str, Any]) -> Engine:
    """Return the engine of a folder or a SQLAlchemy URL; it connects on first use.

    Args:
        location: the folder, which is created if it is missing, or the URL.
        silent_s: seconds of silence after which a server is checked for life.
        options: execution options of every connection.

    Raises:
        StoreUnavailable: the folder cannot be made, or the URL cannot be read.

    """
    try:
        url = make_url(_url(location))
        is_sqlite = url.get_backend_name() == "sqlite"
        engine = create_engine(
            url,
            connect_args={"timeout": BUSY_SECONDS} if is_sqlite else _patience(url),
            execution_options=options,
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
        if connect_to_read := reader(url.database, BUSY_SECONDS):
            event.listen(engine, "do_connect", connect_to_read)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif url.get_driver_name() == "psycopg":
        from gallery.patience import connector

        event.listen(engine, "do_connect", connector(silent_s))
    return engine


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
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
