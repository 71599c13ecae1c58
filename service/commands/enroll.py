"""`metagait enroll`: enrol a walk, or every walk of a tree, over HTTP."""

import argparse
import sys
from collections import Counter

from tqdm import tqdm

from service.client import Client
from service.commands.folders import FoundWalk, key_of, selected
from service.commands.folders import configure as configure_walks
from service.errors import NoWalksError, RefusedError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the walks and their subject."""
    configure_walks(parser)
    parser.add_argument(
        "--subject", help="whose walks they are; default: the first folder below the tree"
    )


def run(arguments: argparse.Namespace) -> int:
    """Enrol the walks; status 1 when the service refused one."""
    walks = selected(arguments)
    named = [(_subject(walk, arguments.subject), walk) for walk in walks]
    with Client(arguments.url, key=key_of(arguments), gallery=arguments.gallery) as client:
        done: Counter[str] = Counter()
        for subject, walk in tqdm(named, desc="enrol", unit="walk"):
            done[_enroll(client, subject, walk)] += 1
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(done.items())))
    return 1 if done["refused"] else 0


def _subject(walk: FoundWalk, given: str | None) -> str:
    subject = given or walk.subject
    if subject is None:
        raise NoWalksError(f"expected --subject for the single walk {walk.path}, got none")
    return subject


def _enroll(client: Client, subject: str, walk: FoundWalk) -> str:
    try:
        answer = client.enroll(subject, walk.path, metadata=walk.metadata)
    except RefusedError as error:
        tqdm.write(f"{walk.place}: {error}", file=sys.stderr)
        return "refused"
    return "enrolled before" if answer.duplicate else "enrolled"
