"""`metagait audit`: check that the log of who did what is whole, or write it out.

metagait audit verify                     follow the chain to its end; status 2 when it is broken
metagait audit verify --head 812:9f3a…    and compare with what an earlier run printed
metagait audit export > audit.jsonl       one JSON object a row, oldest first
"""

import argparse
import json
from contextlib import closing

from sqlalchemy import select

from gallery.audit import Verified, export, hash_at, verify
from gallery.commands.place import configure_place, place_of
from gallery.errors import AuditBroken
from gallery.schema import galleries
from gallery.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what to do with the log."""
    parser.add_argument("action", choices=("verify", "export"))
    parser.add_argument(
        "--head", metavar="ROWS:HASH", help="what `verify` printed earlier and was kept elsewhere"
    )
    configure_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify every gallery's log, or export one."""
    with closing(place_of(arguments).open_existing()) as store:
        if arguments.action == "export":
            _export(store)
        else:
            for verified in _verified(store, arguments.head):
                head = f"{verified.rows}:{verified.head}"
                print(f"The log of {verified.gallery} is whole. Keep this elsewhere: {head}")
    return 0


def _export(store: Store) -> None:
    with store.database.reading() as connection:
        for row in export(connection, store.name):
            print(json.dumps(row, ensure_ascii=False))


def _verified(store: Store, head: str | None) -> list[Verified]:
    with store.database.reading() as connection:
        names = list(connection.scalars(select(galleries.c.name).order_by(galleries.c.name)))
        found = [verify(connection, name) for name in names]
        if head is not None:
            number, _colon, digest = head.partition(":")
            known = hash_at(connection, store.name, int(number) if number.isdecimal() else 0)
            if known != digest:
                raise AuditBroken(
                    f"expected row {number} of the log of {store.name} with the hash that was kept,"
                    f" got {known or 'no such row'}"
                )
    return found
