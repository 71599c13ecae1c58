"""`metagait masterkey`: create, apply or rotate the master key for encryption at rest.

metagait masterkey new FILE         make a key; METAGAIT_MASTER_KEY_FILE=FILE then encrypts
metagait masterkey encrypt          encrypt the people who were enrolled before there was a key
metagait masterkey rotate NEWFILE   wrap every subject's key with a new master key

Stop the service before a rotation, and start it with the new file.
"""

import argparse
from contextlib import closing
from pathlib import Path

from gallery.commands.place import configure_place, place_of
from gallery.errors import WrongMasterKey
from gallery.master_keys import encrypt_plain, read_master_key, rotate, write_master_key


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "Stop the service before `rotate`, and start it with the new file. Without the key nothing "
        "can be read: keep a copy of it apart from the data."
    )
    parser.add_argument(
        "action",
        choices=("new", "encrypt", "rotate"),
        help="new: make a key; encrypt: encrypt the people who were enrolled before there was one; "
        "rotate: change to another key",
    )
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="new: the file to make; rotate: the file with the new key",
    )
    configure_place(parser, gallery=False)


def run(arguments: argparse.Namespace) -> int:
    """Create a key, or apply it to the store."""
    if arguments.action != "encrypt" and arguments.file is None:
        raise WrongMasterKey(f"expected a FILE after `{arguments.action}`, got none")
    if arguments.action == "encrypt" and arguments.file is not None:
        raise WrongMasterKey(
            "expected no FILE after `encrypt`, which takes the key of --master-key-file"
        )
    if arguments.action == "new":
        key = write_master_key(arguments.file)
        print(f"Made the master key {key.fingerprint} in {arguments.file}.")
        print("Keep a copy apart from the data: without the key nothing can be read again.")
        return 0
    with closing(place_of(arguments).open_database()) as database:
        if arguments.action == "encrypt":
            print(f"Encrypted {encrypt_plain(database)} subjects.")
        else:
            new = read_master_key(arguments.file)
            count = rotate(database, new)
            print(f"Wrapped the keys of {count} subjects with the master key {new.fingerprint}.")
        database.scrub_or_say()
    return 0
