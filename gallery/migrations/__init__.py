"""Numbered, append-only migrations that bring an older store up to date.

Each step is one numbered file in `versions` and is never changed once it is on the main branch. It
holds a frozen copy of the tables that it creates, because `gallery.schema` describes only the
newest form. Alembic runs the steps on the caller's connection, so in the caller's transaction: all
or nothing. There are no downgrades; an older program refuses a newer store.
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
# Alembic's `op` is global to the process, whatever connection it works on.
_ALEMBIC = Lock()


@cache
def numbers() -> tuple[str, ...]:
    """Return the numbers of all steps in the order they run, `0001` first."""
    steps = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(step.revision for step in steps)[::-1]


def number_of(connection: Connection) -> str | None:
    """Return the last step that was applied to the store; None for an empty database."""
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        version = Table("alembic_version", MetaData(), autoload_with=connection)
        return connection.scalar(select(version.c.version_num))
    # Before we used Alembic, the first step was recorded in a table of our own.
    return numbers()[0] if tables.has_table("schema_version") else None


def is_current(connection: Connection) -> bool:
    """Tell, without writing, whether there is nothing to migrate."""
    return number_of(connection) == numbers()[-1]


def migrate(connection: Connection, to: str = "head") -> None:
    """Migrate the store to the newest step, or to `to`, inside the caller's transaction.

    Raises:
        StoreTooNew: a newer version of metagait has migrated it beyond the steps known here.

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
