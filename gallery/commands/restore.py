"""`metagait restore FILE`: fill an empty data folder, or an empty database, from a backup."""

import argparse
from contextlib import closing
from pathlib import Path

from gallery.backup import check, restore
from gallery.commands.place import configure_place, place_of
from gallery.database import Database
from gallery.errors import BackupError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "People who were erased and keys that were revoked since the backup are there again: erase "
        "and revoke them once more. An encrypted store needs its master key only when it is opened."
    )
    parser.add_argument("file", type=Path, help="the backup")
    parser.add_argument(
        "--check", action="store_true", help="only read the backup and compare its hashes"
    )
    parser.add_argument(
        "--takes-over",
        action="store_true",
        help="with Milvus, if the store that was backed up is gone: continue with its collections",
    )
    configure_place(parser, gallery=False, master_key=False)


def run(arguments: argparse.Namespace) -> int:
    """Restore, or only check the backup."""
    if arguments.check:
        if arguments.takes_over:
            raise BackupError("expected --check or --takes-over: a check restores nothing")
        manifest = check(arguments.file)
        print(f"{arguments.file} is whole: {manifest.tables['samples']} samples.")
        return 0
    manifest = check(arguments.file)  # check before creating a folder for it
    place = place_of(arguments)
    with closing(Database(place.location)) as database:
        restore(arguments.file, database, takes_over=arguments.takes_over)
    print(f"Restored {manifest.tables['samples']} samples from {arguments.file}.")
    return 0
