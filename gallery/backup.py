"""Back up a whole store to one file while the service runs, check the file, and restore it.

The archive is a compressed tar of the tables as JSON lines, in pieces of a few megabytes, followed
by a manifest with the SHA-256 of each piece. Everything is read in one transaction, so the backup
is the store at a single moment. SQLite and PostgreSQL write the same format and can restore each
other's archives. Encrypted data stays encrypted: a restored store needs the same master key.
"""

import base64
import hashlib
import io
import json
import os
import secrets
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
)

from gallery import audit
from gallery.database import Database
from gallery.durable import name_finished, sync_folder
from gallery.errors import AuditBroken, BackupError
from gallery.generations import now
from gallery.jobs import leave_unfinished
from gallery.migrations import migrate, number_of, numbers
from gallery.schema import galleries, identities
from gallery.wiping import owe_nothing

FORMAT = "metagait-backup-1"
_MANIFEST = "manifest.json"
_VERSIONS = "alembic_version"
_PIECE_BYTES = 4 * 1024 * 1024
_ROWS = 200


@dataclass
class Manifest:
    """The contents of an archive; written last, so that a truncated archive has none."""

    format: str
    schema: str
    created_at: str
    tables: dict[str, int] = field(default_factory=dict)
    """Row count of each table."""
    pieces: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each piece."""


def back_up(database: Database, path: Path) -> Manifest:
    """Write the whole store to a new file that only its owner can read.

    Raises:
        BackupError: the file already exists, or cannot be written.
        StoreUnavailable: the database cannot be read.

    """
    partial: Path | None = None
    try:
        if path.exists():
            raise BackupError(f"expected to make the new file {path}, got one there already")
        # Write under an unpredictable new name: an existing file might belong to somebody else.
        descriptor, name = mkstemp(".partial", f"{path.name}.", path.parent)
        partial = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                manifest = _write_all(database, archive)
            file.flush()
            os.fsync(file.fileno())
        name_finished(partial, path)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise BackupError(
            f"expected to make the new file {path}, got one that came there meanwhile"
        ) from error
    except OSError as error:
        raise BackupError(f"expected to write {path}, got: {error.strerror}") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return manifest


def check(path: Path) -> Manifest:
    """Read an archive to its end and compare every piece with the manifest.

    Raises:
        BackupError: it is damaged, truncated, not a backup, or from a newer version.

    """
    with _opened(path) as archive:
        seen = {name: _sha256(data) for name, data in _members(archive) if name != _MANIFEST}
    manifest = _manifest(path)
    if seen != manifest.pieces:
        wrong = sorted(set(seen.items()) ^ set(manifest.pieces.items()))
        raise BackupError(
            f"expected the pieces of {path} as its manifest lists them, got another {wrong[0][0]}"
        )
    if manifest.schema not in numbers():
        raise BackupError(
            f"expected a backup of schema version {numbers()[-1]} or older, got version "
            f"{manifest.schema}: restore it with the metagait that wrote it, or a newer one"
        )
    return manifest


def restore(path: Path, database: Database, *, takes_over: bool = False) -> Manifest:
    """Fill an empty database from an archive, all or nothing, and verify the result.

    With `takes_over`, the restored store replaces the one that was backed up, including the data
    that an external index keeps for it. Otherwise it is a new store, and both may stay in use.

    Raises:
        BackupError: the archive is damaged or from a newer version, or the database is not empty.
        AuditBroken: everything is restored, but an audit log was damaged before it was backed up.

    """
    manifest = check(path)
    with database.writing() as connection:
        database.migrate_alone(connection)
        if inspect(connection).get_table_names():
            raise BackupError(
                "expected an empty database to restore into, got one with tables: restore into "
                "another folder or database"
            )
        migrate(connection, manifest.schema)
        _read_all(connection, path, manifest)
        migrate(connection)
        leave_unfinished(connection)
        owe_nothing(connection)
        if not takes_over:
            connection.execute(delete(identities))
            connection.execute(insert(identities).values(identity=secrets.token_hex(16)))
    _check_logs(database)
    return manifest


def _write_all(database: Database, archive: tarfile.TarFile) -> Manifest:
    with database.reading() as connection:
        manifest = Manifest(FORMAT, number_of(connection) or "", now())
        for table in _tables(connection):
            manifest.tables[table.name] = _write_table(connection, table, archive, manifest)
        _add(archive, _MANIFEST, json.dumps(manifest.__dict__, indent=1).encode())
    return manifest


def _write_table(
    connection: Connection, table: Table, archive: tarfile.TarFile, manifest: Manifest
) -> int:
    piece, count = io.BytesIO(), 0

    def finish() -> None:
        name = f"{table.name}/{len(manifest.pieces):06d}.jsonl"
        manifest.pieces[name] = _sha256(piece.getvalue())
        _add(archive, name, piece.getvalue())
        piece.seek(0)
        piece.truncate()

    rows = connection.execution_options(yield_per=_ROWS).execute(select(table))
    for row in rows:
        line = {name: _to_json(value) for name, value in row._mapping.items()}
        piece.write(json.dumps(line).encode() + b"\n")
        count += 1
        if piece.tell() >= _PIECE_BYTES:
            finish()
    if piece.tell():
        finish()
    return count


def _read_all(connection: Connection, path: Path, manifest: Manifest) -> None:
    tables = {table.name: table for table in _tables(connection)}
    if set(tables) != set(manifest.tables):
        raise BackupError(
            f"expected the tables {sorted(tables)} in {path}, got {sorted(manifest.tables)}"
        )
    for table in tables.values():
        connection.execute(delete(table))  # rows made by a migration are in the archive too
    with _opened(path) as archive:
        for name, data in _members(archive):
            if name != _MANIFEST:
                table = tables[name.split("/", maxsplit=1)[0]]
                lines = [json.loads(line) for line in data.splitlines()]
                rows = [
                    {key: _fitting(_from_json(value), table.c[key]) for key, value in line.items()}
                    for line in lines
                ]
                connection.execute(insert(table), rows)
    for table in tables.values():
        _check_count(connection, table, manifest.tables[table.name])
        _go_on_numbering(connection, table)


def _check_count(connection: Connection, table: Table, expected: int) -> None:
    count = connection.scalar(select(func.count()).select_from(table))
    if count != expected:
        raise BackupError(f"expected {expected} rows of {table.name}, got {count}")


def _go_on_numbering(connection: Connection, table: Table) -> None:
    """Advance PostgreSQL's sequences beyond the restored ids; SQLite does this by itself."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key:
        sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
        if sequence is not None and isinstance(column.type, Integer):
            newest = connection.scalar(select(func.max(column)))
            connection.execute(select(func.setval(sequence, newest or 1, newest is not None)))


def _check_logs(database: Database) -> None:
    """Check the logs once the data is safe: what was wrong before the backup stays so."""
    with database.reading() as connection:
        for name in list(connection.scalars(select(galleries.c.name))):
            try:
                audit.verify(connection, name)
            except AuditBroken as error:
                raise AuditBroken(f"the store is restored, but in its log: {error}") from error


def _tables(connection: Connection) -> list[Table]:
    """Return every table of the store as it exists, each after the tables that it refers to."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != _VERSIONS]


def _manifest(path: Path) -> Manifest:
    with _opened(path) as archive:
        text = next((data for name, data in _members(archive) if name == _MANIFEST), None)
    try:
        manifest = Manifest(**json.loads(text or b"{}"))
    except (ValueError, TypeError) as error:
        raise BackupError(f"expected {path} to end with a manifest, got none") from error
    if manifest.format != FORMAT:
        raise BackupError(f"expected a backup of the form {FORMAT}, got {manifest.format}")
    return manifest


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, mode="r|gz") as archive:
            yield archive
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise BackupError(f"expected a whole backup in {path}, got: {error}") from error


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        file = archive.extractfile(member)
        if file is None:
            raise BackupError(f"expected pieces in the archive, got {member.name!r}")
        yield member.name, file.read()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(data))


def _to_json(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


def _fitting(value: Any, column: Column[Any]) -> Any:
    """Return a value as the column takes it; SQLite may have kept a damaged one in another type.

    It stays damaged, and so does what belongs to it, but all else is restored.
    """
    wanted = column.type.python_type
    if value is None or wanted not in (bytes, str) or isinstance(value, wanted):
        return value
    if wanted is bytes:
        return str(value).encode()
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "\\x00")  # which a server keeps in no text


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
