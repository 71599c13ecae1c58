"""`metagait scrub`: remove what was deleted from the files of a database, whatever their size."""

import argparse
from contextlib import closing

from gallery.commands.place import configure_place, place_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "An erasure does this by itself, except in a SQLite file beyond 64 MiB, of which its "
        "receipt says `pending`. The file is written anew: that takes about twice as much free "
        "space again, beside it, and nobody can enrol or erase meanwhile."
    )
    configure_place(parser, gallery=False)


def run(arguments: argparse.Namespace) -> int:
    """Wipe the files, for all galleries of the store."""
    with closing(place_of(arguments).open_database()) as database:
        database.scrub_or_say(at_any_size=True)
    print("Nothing that was deleted is left in the database's files.")
    return 0
