"""`metagait audit`: check that the audit log is intact, or export it.

metagait audit verify                        follow every chain to its end; exit status 2 on a fault
metagait audit verify --head main:812:9f3a…  also compare with what an earlier run printed
metagait audit export > audit.jsonl          one JSON object per row, oldest first
metagait audit verify --file audit.jsonl     verify such an export, without the store
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from gallery.audit import Verified, export, hash_at, verify, verify_export
from gallery.commands.place import configure_place, place_of
from gallery.database import Database
from gallery.errors import AuditBroken
from gallery.schema import galleries
from gallery.store import Store


class _Head(NamedTuple):
    """The last row of a log, as printed by `verify`."""

    gallery: str | None
    rows: int
    hash: str


def _head(text: str) -> _Head:
    found = re.fullmatch(r"(?:(.+):)?([0-9]{1,18}):([0-9a-f]*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected GALLERY:ROWS:HASH, got {text!r}")
    return _Head(found[1], int(found[2]), found[3])


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        choices=("verify", "export"),
        help="verify: check that no log of the store was altered, with exit status 2 if one was; "
        "export: print the log of the gallery, one JSON object on a line",
    )
    parser.add_argument(
        "--head",
        type=_head,
        action="append",
        default=[],
        metavar="GALLERY:ROWS:HASH",
        help="what an earlier `verify` printed, to compare with; may be repeated, once for each "
        "gallery",
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="EXPORT",
        help="with verify: check this file that `export` printed, instead of the store",
    )
    configure_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify every gallery's log, or export one."""
    if arguments.action == "export" and (arguments.head or arguments.file):
        raise AuditBroken("expected --head and --file with `verify`: an export compares nothing")
    if arguments.file:
        _print([_verified_file(arguments.file, arguments.head)])
        return 0
    place = place_of(arguments)
    if arguments.action == "export":
        with closing(place.open_existing()) as store:
            _export(store)
    else:
        with closing(place.open_database()) as database:
            _print(_verified(database, arguments.head, place.gallery))
    return 0


def _print(verified: Sequence[Verified]) -> None:
    """Print what `--head` takes on standard output, and nothing else there."""
    for one in verified:
        print(f"The log of {one.gallery} is whole. Keep this elsewhere:", file=sys.stderr)
        print(f"{one.gallery}:{one.rows}:{one.head}", flush=True)


def _export(store: Store) -> None:
    with store.database.reading() as connection:
        for row in export(connection, store.name):
            print(json.dumps(row, ensure_ascii=False))


def _verified(database: Database, heads: Sequence[_Head], own: str) -> list[Verified]:
    with database.reading() as connection:
        names = list(connection.scalars(select(galleries.c.name).order_by(galleries.c.name)))
        found = [verify(connection, name) for name in names]
        for head in heads:
            _compare(connection, head, own)
    return found


def _verified_file(path: Path, heads: Sequence[_Head]) -> Verified:
    gallery, hashes = verify_export(_read(path))
    for head in heads:
        if head.gallery not in (None, gallery):
            raise AuditBroken(
                f"expected heads of {gallery}, which {path} is of, got {head.gallery}"
            )
        known = hashes[head.rows - 1] if 0 < head.rows <= len(hashes) else None
        _require(head, gallery, known)
    return Verified(gallery, len(hashes), hashes[-1])


def _read(path: Path) -> Iterator[Any]:
    """Yield the rows of an export, which has one at least."""
    read = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
                read += 1
    except (OSError, ValueError, RecursionError) as error:
        raise AuditBroken(
            f"expected an exported log in {path}, got, after {read} rows: {error}"
        ) from error
    if not read:
        raise AuditBroken(f"expected an exported log in {path}, got no rows")


def _compare(connection: Connection, head: _Head, own: str) -> None:
    """Check that a log row has the hash that was kept; a head without a name means `own`."""
    gallery = head.gallery or own
    known = hash_at(connection, gallery, head.rows)
    _require(head, gallery, known)


def _require(head: _Head, gallery: str, known: str | None) -> None:
    # A log without rows has no hash.
    if (known if head.rows else "") != head.hash:
        raise AuditBroken(
            f"expected row {head.rows} of the log of {gallery} with the hash that was kept, "
            f"got {known or 'no such row'}"
        )
