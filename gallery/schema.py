"""The tables, and the numbered steps by which an older store becomes a present one.

    galleries ─┬─ generations ─┐
               ├─ subjects     ├─ embeddings      one a sample and generation
               │     └─ samples┴─ silhouettes     at most one a sample
               └─ changes                         what an index must do to follow

A sample's row number is its number in the index as well. `changes` names only row numbers: it
tells that something was erased, never what.
"""

from collections.abc import Callable

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
)

from gallery.errors import StoreTooNew

BUILDING, LIVE, OLD = "building", "live", "old"
"""States of a generation: being made, answering, kept for a rollback."""
ENROLLED, ERASED = "enrolled", "erased"
"""Kinds of change to a sample."""

_metadata = MetaData()


def _parent(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


schema_version = Table("schema_version", _metadata, Column("version", Integer, primary_key=True))

galleries = Table(
    "galleries",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    # Grows with every write that an index must follow.
    Column("changes", Integer, nullable=False),
)

generations = Table(
    "generations",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("gallery", _parent("galleries.id"), nullable=False),
    Column("model_id", String(256), nullable=False),
    Column("embedding_length", Integer, nullable=False),
    Column("state", String(16), CheckConstraint("state IN ('building', 'live', 'old')")),
    # The gallery's change at which it stopped being live: a rollback goes to the latest.
    Column("retired", Integer),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("gallery", "model_id", "embedding_length"),
    sqlite_autoincrement=True,
)

subjects = Table(
    "subjects",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("gallery", _parent("galleries.id"), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("gallery", "subject"),
)

samples = Table(
    "samples",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("sample_id", String(32), nullable=False),
    Column("gallery", _parent("galleries.id"), nullable=False),
    Column("subject", _parent("subjects.id"), nullable=False, index=True),
    Column("created_at", String(32), nullable=False),
    Column("frames", Integer, nullable=False),
    Column("metadata", Text, nullable=False),
    UniqueConstraint("gallery", "sample_id"),
    # An index that still holds an erased row must never find another sample under its number.
    sqlite_autoincrement=True,
)

silhouettes = Table(
    "silhouettes",
    _metadata,
    Column("sample", _parent("samples.id"), primary_key=True, autoincrement=False),
    Column("format", String(32), nullable=False),
    Column("frames", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

embeddings = Table(
    "embeddings",
    _metadata,
    Column("generation", _parent("generations.id"), primary_key=True, autoincrement=False),
    Column("sample", _parent("samples.id"), primary_key=True, autoincrement=False, index=True),
    Column("vector", LargeBinary, nullable=False),
)

changes = Table(
    "changes",
    _metadata,
    Column("gallery", _parent("galleries.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sample", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
)


def _create_tables(connection: Connection) -> None:
    # The tables above are still those of step 1. The first step that alters one must leave here
    # a frozen copy of them, because the definitions above then describe the newest form.
    _metadata.create_all(connection)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create_tables,)
"""Append-only: a store at version n has had the first n steps."""


def migrate(connection: Connection) -> None:
    """Bring the store to the newest version, inside the caller's transaction.

    Raises:
        StoreTooNew: a newer version of metagait has migrated it further than this one knows.

    """
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise StoreTooNew(
            f"expected a store of schema version {len(MIGRATIONS)} or older, got version "
            f"{version}: a newer metagait wrote it, so open it with that one"
        )
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        step(connection)
        connection.execute(insert(schema_version).values(version=number))


def is_current(connection: Connection) -> bool:
    """Tell whether there is nothing to migrate, without writing."""
    return _version(connection) == len(MIGRATIONS)


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(schema_version.name):
        return 0
    newest = connection.scalar(select(func.max(schema_version.c.version)))
    return int(newest or 0)
