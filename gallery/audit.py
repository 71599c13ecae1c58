"""The audit log: who did what in each gallery, append-only, each row hashing the row before it.

A row names the subject by its random token. As long as the subject is enrolled, the operator of the
gallery can map the token to it; once it is erased nobody can, and the log stays as written. A row
holds counts and words, never a distance or anything derived from a walk.
"""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update

from gallery.errors import AuditBroken
from gallery.generations import now
from gallery.schema import audit, galleries

LOCAL = "local"
"""The actor for command lines on the machine itself."""
ACTOR_MAX_CHARACTERS = 128
_PAGE = 1000


@dataclass(frozen=True)
class Entry:
    """The content of a log row before it gets its place in the chain."""

    action: str
    """`enrol`, `identify`, `verify`, `erase`, `rebuild`, `rollback`, `drop`, `calibrate`, …"""
    outcome: str
    actor: str = LOCAL
    """The id of an API key, or `local`."""
    generation: int = 0
    """The generation whose embeddings answered or were written."""
    subject: str | None = None
    """The subject's token, never its id."""
    counts: Mapping[str, int] = field(default_factory=dict)
    at: str = field(default_factory=now)


# Built once, as every search writes to the log. The last row is selected FOR UPDATE, as in `lock`.
_OF_GALLERY = galleries.c.id == bindparam("of_gallery")
_LAST = (
    select(galleries.c.audit_number, galleries.c.audit_hash).where(_OF_GALLERY).with_for_update()
)
_ADVANCE = (
    update(galleries)
    .where(_OF_GALLERY)
    .values(audit_number=bindparam("number"), audit_hash=bindparam("hash"))
)

_EXPORTED = {column.name for column in audit.columns} | {"gallery_number"}


@dataclass(frozen=True)
class Verified:
    """The result for a log whose chain is intact up to its last row."""

    gallery: str
    rows: int
    head: str
    """Hash of the last row. Kept elsewhere, it later proves that no earlier row was altered."""


def append(connection: Connection, gallery: int, entries: Sequence[Entry]) -> None:
    """Append entries to a gallery's log, inside the caller's writing transaction."""
    if not entries:
        return
    last = connection.execute(_LAST, {"of_gallery": gallery}).one()
    rows, previous = [], last.audit_hash
    for number, entry in enumerate(entries, start=last.audit_number + 1):
        row = _values(gallery, number, entry, previous)
        rows.append(row)
        previous = row["hash"]
    connection.execute(insert(audit), rows)
    head = {"number": last.audit_number + len(rows), "hash": previous, "of_gallery": gallery}
    connection.execute(_ADVANCE, head)


def verify(connection: Connection, name: str) -> Verified:
    """Follow the chain of a gallery's log from its first row to its last.

    Raises:
        AuditBroken: a row was altered, removed, added or moved; the message names the first one.

    """
    known = select(galleries).where(galleries.c.name == name)
    gallery = connection.execute(known).one()
    verified = Verified(name, 0, "")
    # Close the cursor even if a broken row raises: a server-side cursor must not stay open.
    with closing(_rows(connection, gallery.id)) as rows:
        for number, last in enumerate(_chain(name, (row._asdict() for row in rows)), start=1):
            verified = Verified(name, number, last)
    if (verified.rows, verified.head) != (gallery.audit_number, gallery.audit_hash):
        raise AuditBroken(
            f"expected a log of {name} of {gallery.audit_number} rows, got one that ends with "
            f"row {verified.rows}"
        )
    return verified


def verify_export(rows: Iterable[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Follow the chain of rows that `export` gave; returns the gallery's name and each row's hash.

    Raises:
        AuditBroken: as for `verify`, or these are not such rows, or of several galleries.

    """
    name, hashes = "", list[str]()
    for row in rows:
        if not isinstance(row, Mapping) or not row.keys() >= _EXPORTED:
            raise AuditBroken(
                f"expected row {len(hashes) + 1} to have {', '.join(sorted(_EXPORTED))}: export "
                "the log again"
            )
        name = name or row["gallery"]
        if row["gallery"] != name:
            raise AuditBroken(f"expected the log of {name} alone, got a row of {row['gallery']}")
        counts = json.dumps(row["counts"], sort_keys=True)
        hashed = {**row, "gallery": row["gallery_number"], "counts": counts}
        hashes += _chain(name, [hashed], after=hashes)
    return name, hashes


def _chain(
    name: str, rows: Iterable[Mapping[str, Any]], after: Sequence[str] = ()
) -> Iterator[str]:
    """Give the hash of each row that follows the one before it and is as it was written."""
    number, previous = len(after), after[-1] if after else ""
    for row in rows:
        number += 1
        if row["number"] != number:
            raise AuditBroken(
                f"expected row {number} of the log of {name}, got row {row['number']}"
            )
        if row["previous"] != previous:
            raise AuditBroken(
                f"expected row {number} of the log of {name} to follow the row before it, "
                "got one that follows another"
            )
        if row["hash"] != _hash(row):
            raise AuditBroken(
                f"expected row {number} of the log of {name} as it was written, got one that was "
                "altered"
            )
        previous = row["hash"]
        yield previous


def hash_at(connection: Connection, name: str, number: int) -> str | None:
    """Return the hash of one row of a gallery's log; None if there is no such row."""
    query = select(audit.c.hash).join(galleries, galleries.c.id == audit.c.gallery)
    return connection.scalar(query.where(galleries.c.name == name, audit.c.number == number))


def export(connection: Connection, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a gallery's log, oldest first, as JSON-serialisable dicts.

    Raises:
        AuditBroken: the counts of a row are no JSON any more.

    """
    gallery = connection.execute(
        select(galleries.c.id).where(galleries.c.name == name)
    ).scalar_one()
    for row in _rows(connection, gallery):
        said = {**row._mapping, "gallery": name, "counts": _counts(name, row)}
        yield said | {"gallery_number": gallery}  # which is hashed in the place of the name


def _counts(name: str, row: Row[Any]) -> Any:
    try:
        return json.loads(row.counts)
    except (ValueError, TypeError, RecursionError) as error:
        raise AuditBroken(
            f"expected row {row.number} of the log of {name} as it was written, got one that was "
            f"altered: its counts are {str(row.counts)[:40]!r}"
        ) from error


def _rows(connection: Connection, gallery: int) -> Generator[Row[Any]]:
    query: Select[Any] = select(audit).where(audit.c.gallery == gallery).order_by(audit.c.number)
    with connection.execution_options(yield_per=_PAGE).execute(query) as rows:
        yield from rows


def _values(gallery: int, number: int, entry: Entry, previous: str) -> dict[str, Any]:
    said = {one.name: getattr(entry, one.name) for one in fields(entry)}
    said["actor"] = entry.actor[:ACTOR_MAX_CHARACTERS]
    said["counts"] = json.dumps(dict(entry.counts), sort_keys=True)
    values = {**said, "gallery": gallery, "number": number, "previous": previous}
    return {**values, "hash": _hash(values)}


def _hash(values: Mapping[str, Any]) -> str:
    """Hash all columns of a row, including the hash of the row before it."""
    said = [values[column.name] for column in audit.columns if column.name != "hash"]
    return hashlib.sha256(json.dumps(said, ensure_ascii=True).encode()).hexdigest()
