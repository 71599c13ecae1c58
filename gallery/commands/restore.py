"""`metagait restore FILE`: fill an empty data folder, or an empty database, from a backup."""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gallery.backup import check, restore
from gallery.commands.place import Place, configure_place, place_of
from gallery.database import FILE_NAME, Database
from gallery.errors import BackupError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the file and where to restore it to."""
    parser.add_argument("file", type=Path, help="the backup")
    parser.add_argument("--check", action="store_true", help="only read it and compare its hashes")
    parser.add_argument(
        "--takes-over",
        action="store_true",
        help="the store that was backed up is gone: go on with its Milvus collections",
    )
    configure_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Restore, or only check."""
    if arguments.check:
        manifest = check(arguments.file)
        print(f"{arguments.file} is whole: {manifest.tables['samples']} samples.")
        return 0
    manifest = check(arguments.file)  # before a folder is made for it
    place = place_of(arguments)
    with _nothing_left(place), closing(_empty(place)) as database:
        restore(arguments.file, database, takes_over=arguments.takes_over)
    print(f"Restored {manifest.tables['samples']} samples from {arguments.file}.")
    return 0


@contextmanager
def _nothing_left(place: Place) -> Iterator[None]:
    """Take away a database without tables, which a restore that failed leaves in the data folder.

    It would keep the next one from the folder, and a service would begin an empty gallery in it.
    """
    was_there = place.database is not None or (place.data / FILE_NAME).exists()
    try:
        yield
    except BaseException:
        if not was_there:
            for path in place.data.glob(f"{FILE_NAME}*"):
                path.unlink()
        raise


def _empty(place: Place) -> Database:
    if place.database is not None:
        return Database(place.database)
    if (place.data / FILE_NAME).exists():
        raise BackupError(
            f"expected a folder without a gallery, got {place.data} with a {FILE_NAME}: "
            "restore into another folder"
        )
    return Database(place.data)
