"""`metagait backup FILE`: write the whole store to one file; the service may keep running."""

import argparse
from contextlib import closing
from pathlib import Path

from gallery.backup import back_up
from gallery.commands.place import configure_place, place_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "The file holds every gallery of the store as of one moment, and the API keys; model files "
        "are not in it. A service may run meanwhile."
    )
    parser.add_argument("file", type=Path, help="the file to write; it must not exist yet")
    configure_place(parser, gallery=False)


def run(arguments: argparse.Namespace) -> int:
    """Back up every gallery of the store."""
    with closing(place_of(arguments).open_database()) as database:
        manifest = back_up(database, arguments.file)
    print(f"Wrote {manifest.tables['samples']} samples to {arguments.file}.")
    return 0
