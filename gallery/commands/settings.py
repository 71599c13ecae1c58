"""`metagait gallery`: show what a gallery holds and how it is set, and change its settings.

metagait gallery                                     show
metagait gallery --set aggregation=mean --set nearest_samples=2
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from gallery.commands.place import configure_place, place_of
from gallery.errors import InvalidSetting
from gallery.settings import change_settings, read_settings
from gallery.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the gallery and the changes."""
    configure_place(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting"
    )


def run(arguments: argparse.Namespace) -> int:
    """Change what is to be changed, then print how the gallery stands."""
    with closing(place_of(arguments).open_existing()) as store:
        if arguments.set:
            change_settings(store, _changes(arguments.set))
        print("\n".join(_lines(store)))
    return 0


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
