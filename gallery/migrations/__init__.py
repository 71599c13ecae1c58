"""Numbered, append-only steps by which an older store becomes a present one.

Each step is one file of `versions`, with a number, never altered once it is on the main branch: it
holds a frozen copy of the tables that it makes, because `gallery.schema` describes the newest form.
Alembic runs them on the caller's connection, so inside the caller's transaction: whole or not at
all. There is no way back; a newer store is refused by an older program.
"""

from functools import cache
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, inspect, select

from gallery.errors import StoreTooNew

_FOLDER = Path(__file__).parent
# Alembic's `op` is one for the whole process, whichever connection it works on.
_ALEMBIC = Lock()


@cache
def numbers() -> tuple[str, ...]:
    """List the steps in the order in which they run, `0001` first."""
    steps = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(step.revision for step in steps)[::-1]


def number_of(connection: Connection) -> str | None:
    """Read the last step that the store has had; None of an empty database."""
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        version = Table("alembic_version", MetaData(), autoload_with=connection)
        return connection.scalar(select(version.c.version_num))
    # Before there was Alembic here, the first step was noted in a table of our own.
    return numbers()[0] if tables.has_table("schema_version") else None


def is_current(connection: Connection) -> bool:
    """Tell whether there is nothing to migrate, without writing."""
    return number_of(connection) == numbers()[-1]


def migrate(connection: Connection, to: str = "head") -> None:
    """Bring the store to the newest step, inside the caller's transaction.

    Raises:
        StoreTooNew: a newer version of metagait has migrated it further than this one knows.

    """
    number = number_of(connection)
    if number is not None and number not in numbers():
        raise StoreTooNew(
            f"expected a store of schema version {numbers()[-1]} or older, got version "
            f"{number}: a newer metagait wrote it, so open it with that one"
        )
    config = _config()
    config.attributes["connection"] = connection
    with _ALEMBIC:
        if number is not None and not inspect(connection).has_table("alembic_version"):
            command.stamp(config, number)
        command.upgrade(config, to)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config
