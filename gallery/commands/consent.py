"""`metagait consent`: list why people are in the gallery, or whose consent has expired."""

import argparse
from contextlib import closing

from gallery.commands.place import configure_place, place_of
from gallery.listing import consents_in
from gallery.records import ConsentEntry


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "Each consent is a line with tabs: expiry, subject, sample (- for the whole subject), "
        "basis, reference. Those that expire first come first."
    )
    parser.add_argument("--expired", action="store_true", help="list only those that have expired")
    configure_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one consent per line, soonest to expire first, with tabs between the fields."""
    with closing(place_of(arguments).open_existing()) as store:
        for entry in consents_in(store, expired=arguments.expired):
            print(_line(entry))
    return 0


def _line(entry: ConsentEntry) -> str:
    consent = entry.consent
    unsaid = "damaged" if consent.is_damaged else "never"
    expires = unsaid if consent.expires is None else consent.expires.isoformat()
    fields = (expires, entry.subject, entry.sample_id, consent.basis, consent.reference)
    return "\t".join(field or "-" for field in fields)
