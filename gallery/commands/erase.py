"""`metagait erase`: erase a subject or one sample for good, whether or not a service is running.

metagait erase p-017                  the subject with all its samples
metagait erase --sample ID            one sample; its subject too if it was the last one
"""

import argparse
import json
import os
import sys
import unicodedata
from contextlib import closing
from dataclasses import asdict
from datetime import datetime

from gallery.commands.place import configure_place, place_of
from gallery.errors import InvalidSubject
from gallery.indexes.choose import IndexChoice
from gallery.records import Erasure
from gallery.without_index import people_of

_INDEX = "METAGAIT_INDEX"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "It erases for good and asks for no confirmation, whether or not a service runs. Keep what "
        "it prints: the salt in it is stored nowhere. Backups are not touched."
    )
    parser.add_argument("subject", nargs="?", help="id of the person, with all samples")
    parser.add_argument("--sample", metavar="ID", help="instead of a person: id of one sample")
    configure_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Erase, and print the same JSON as the service's `DELETE`: the salt and the receipt."""
    if (arguments.subject is None) == (arguments.sample is None):
        raise InvalidSubject("expected a subject's id or --sample ID, one of the two")
    place = place_of(arguments)
    with closing(place.open_existing()) as store:
        choice = IndexChoice(kind=os.environ.get(_INDEX, "exact"), folder=place.data / "index")
        people = people_of(store, choice)
        if arguments.sample is not None:
            erasure = people.erase_sample(arguments.sample)
        else:
            # Normalised as in the service, because terminals may send accents in decomposed form.
            erasure = people.erase_subject(unicodedata.normalize("NFC", arguments.subject))
    print(json.dumps(asdict(erasure), default=_time, ensure_ascii=False, indent=1))
    _say_what_is_left(erasure)
    return 0


def _say_what_is_left(erasure: Erasure) -> None:
    proof = erasure.receipt.proof
    if proof is None:
        left = "what is left of it could not be looked for"
    elif proof.files == "pending":
        left = "bytes of it may remain in files until the service's next write or start"
    else:
        return
    print(f"metagait erase: the erasure is done, but {left}", file=sys.stderr)


def _time(moment: datetime) -> str:
    """Format a UTC time as the service does."""
    return moment.isoformat().replace("+00:00", "Z")
