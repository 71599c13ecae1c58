"""`metagait gallery`: show or change a gallery's settings; list, make and delete galleries.

metagait gallery                                     show the settings
metagait gallery --set aggregation=mean --set nearest_samples=2
metagait gallery --list
metagait gallery --make lab                          select it with `--gallery lab` from then on
metagait gallery --delete lab                        once nobody is enrolled in it any more
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from gallery.commands.place import configure_place, place_of
from gallery.errors import InvalidSetting
from gallery.galleries import Galleries
from gallery.settings import change_settings, read_settings
from gallery.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "Without an option it shows the settings. They are: aggregation (nearest, mean), "
        "nearest_samples (1 to 16), conflict (report, refuse, off), retention (keep, "
        "embeddings-only), index_kind (service, exact, compact, gpu, milvus). docs/gallery.md and "
        "docs/decision.md explain them. retention=embeddings-only deletes the stored silhouettes "
        "for good."
    )
    configure_place(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting; may be repeated",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the galleries in the store")
    instead.add_argument("--make", metavar="NAME", help="make an empty gallery")
    instead.add_argument(
        "--delete", metavar="NAME", help="delete a gallery in which nobody is enrolled"
    )


def run(arguments: argparse.Namespace) -> int:
    """Apply the changes, then print the gallery's settings or the list of galleries."""
    if arguments.list or arguments.make is not None or arguments.delete is not None:
        with closing(place_of(arguments).open_galleries()) as galleries:
            _change(galleries, arguments)
        return 0
    with closing(place_of(arguments).open_existing()) as store:
        deletes = False
        if arguments.set:
            deletes = change_settings(store, _changes(arguments.set)).deletes_silhouettes
        print("\n".join(_lines(store)))
        if deletes:
            store.database.scrub_or_say()
    return 0


def _change(galleries: Galleries, arguments: argparse.Namespace) -> None:
    if arguments.set:
        raise InvalidSetting("expected --set alone: it changes the gallery that --gallery names")
    if arguments.make is not None:
        galleries.make(arguments.make)
    if arguments.delete is not None:
        galleries.delete(arguments.delete)
    for one in galleries.all():
        print(f"{one.name}: {one.samples} samples of {one.subjects} subjects")


def _changes(texts: Sequence[str]) -> dict[str, str | int]:
    changes: dict[str, str | int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidSetting(f"expected NAME=VALUE, got {text!r}")
        changes[name] = int(value) if value.isascii() and value.isdecimal() else value
    return changes


def _lines(store: Store) -> list[str]:
    head = store.head()
    with store.database.reading() as connection:
        counts = store.counts(connection, head.generation)
        settings = read_settings(connection, store.gallery_id)
    return [
        f"gallery {store.name}: {counts.samples} samples of {counts.subjects} subjects, "
        f"generation {head.generation} by {head.model.model_id or 'no model yet'}",
        *(f"{name} = {value}" for name, value in asdict(settings).items()),
    ]
