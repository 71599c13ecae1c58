"""`metagait enroll`: enrol a walk, or every walk of a folder tree, over HTTP."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

from tqdm import tqdm

from service.client import Client
from service.commands.folders import FoundWalk, client_of, selected
from service.commands.folders import configure as configure_walks
from service.commands.together import Together, check_others
from service.commands.together import configure as configure_together
from service.errors import NoWalksError, RefusedError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the walks, their subject, and how to send them."""
    parser.epilog = (
        "Refused walks are named with the reason and the rest goes on; the exit status is then 1. "
        "If the key or the gallery is refused, the command ends with 2. "
        "After an interruption run the same command again: walks that are enrolled already are "
        "counted as `enrolled before`."
    )
    configure_walks(parser)
    parser.add_argument(
        "--subject", help="id of the person (default: the first folder below the one you name)"
    )
    configure_together(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="also enrol walks of poor quality, which takes a key with the scope `review`",
    )


def run(arguments: argparse.Namespace) -> int:
    """Enrol the walks; returns 1 if one was refused or could not be read, else 0."""
    walks = selected(arguments)
    named = [(_subject(walk, arguments.subject), walk) for walk in walks]
    done: list[str] = []
    try:
        _enroll_all(arguments, named, done)
    finally:
        # Whatever ends the run, Ctrl-C or a lost service, say what was done until then.
        if done:
            print(", ".join(f"{count} {what}" for what, count in sorted(Counter(done).items())))
    return 1 if "refused" in done else 0


def _enroll_all(
    arguments: argparse.Namespace, named: Sequence[tuple[str, FoundWalk]], done: list[str]
) -> None:
    """Enrol walks, several at once, and append the outcome of each to `done`."""
    together = Together(arguments.at_once)

    def enroll(one: tuple[str, FoundWalk]) -> str:
        outcome, sentence = _enroll(client, *one, force=arguments.force)
        done.append(outcome)
        return sentence

    with (
        client_of(arguments, together.wait) as client,
        closing(together.each(enroll, named)) as sentences,
    ):
        # `disable=None` shows the bar on a terminal only, so that none goes into a log.
        for sentence in tqdm(sentences, total=len(named), desc="enrol", unit="walk", disable=None):
            if sentence:
                tqdm.write(sentence, file=sys.stderr)


def _subject(walk: FoundWalk, given: str | None) -> str:
    subject = given or walk.subject
    if subject is None:
        raise NoWalksError(
            f"expected --subject for {walk.path}, which is in no folder of a subject, got none"
        )
    return subject


def _enroll(client: Client, subject: str, walk: FoundWalk, *, force: bool) -> tuple[str, str]:
    """Enrol one walk; returns the outcome, and a sentence if it needs one, else an empty one."""
    if not _is_text(subject):
        return "refused", f"{walk}: expected a subject in UTF-8, got a name of other bytes"
    try:
        answer = client.enroll(subject, walk.path, metadata=walk.metadata, force=force)
    except (RefusedError, NoWalksError) as error:
        check_others(error)
        return "refused", f"{walk}: {error}"
    return "enrolled before" if answer.duplicate else "enrolled", ""


def _is_text(name: str) -> bool:
    """Tell whether a name can be sent; that of a folder may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
