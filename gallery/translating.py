"""Translates the errors of SQLAlchemy and its drivers into those of this package."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from gallery.errors import InvalidText, StoreError, StoreFull, StoreUnavailable

_POSTGRES_DISK_FULL = "53100"
_POSTGRES_NO_PRIVILEGE = "42501"


@contextmanager
def in_our_words(file: str | None = None) -> Iterator[None]:
    """Raise this package's error for an error of the database; `file` is named in it.

    Raises:
        StoreUnavailable: the database cannot be opened, read or written.
        StoreFull: there is no space left.
        InvalidText: it can neither store nor search for a text.

    """
    try:
        yield
    except (exc.IntegrityError, exc.ProgrammingError) as error:
        if _code(error) == _POSTGRES_NO_PRIVILEGE:
            raise _translated(error) from error
        raise  # our own bug, not a state of the database
    except UnicodeEncodeError as error:  # a name on a command line may be any bytes
        raise InvalidText("expected a text of Unicode characters, got other bytes") from error
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
