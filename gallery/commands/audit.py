"""`metagait audit`: check that the audit log is intact, or export it.

metagait audit verify                        follow every chain to its end; exit status 2 on a fault
metagait audit verify --head main:812:9f3a…  also compare with what an earlier run printed
metagait audit export > audit.jsonl          one JSON object per row, oldest first
"""

import argparse
import json
import re
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from sqlalchemy import Connection, select

from gallery.audit import Verified, export, hash_at, verify
from gallery.commands.place import configure_place, place_of
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
    configure_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify every gallery's log, or export one."""
    if arguments.action == "export" and arguments.head:
        raise AuditBroken("expected --head with `verify`: an export compares nothing")
    with closing(place_of(arguments).open_existing()) as store:
        if arguments.action == "export":
            _export(store)
        else:
            for verified in _verified(store, arguments.head):
                head = f"{verified.gallery}:{verified.rows}:{verified.head}"
                print(f"The log of {verified.gallery} is whole. Keep this elsewhere: {head}")
    return 0


def _export(store: Store) -> None:
    with store.database.reading() as connection:
        for row in export(connection, store.name):
            print(json.dumps(row, ensure_ascii=False))


def _verified(store: Store, heads: Sequence[_Head]) -> list[Verified]:
    with store.database.reading() as connection:
        names = list(connection.scalars(select(galleries.c.name).order_by(galleries.c.name)))
        found = [verify(connection, name) for name in names]
        for head in heads:
            _compare(connection, head, store.name)
    return found


def _compare(connection: Connection, head: _Head, own: str) -> None:
    """Check that a log row has the hash that was kept; a head without a name means `own`."""
    gallery = head.gallery or own
    # An empty log has no hash.
    known = hash_at(connection, gallery, head.rows) if head.rows else ""
    if known != head.hash:
        raise AuditBroken(
            f"expected row {head.rows} of the log of {gallery} with the hash that was kept, "
            f"got {known or 'no such row'}"
        )
