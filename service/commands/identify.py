"""`metagait identify`: ask over HTTP whose walk it is, for a walk or every walk of a tree."""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing

from tqdm import tqdm

from service.client import Client
from service.commands.folders import FoundWalk, client_of, selected
from service.commands.folders import configure as configure_walks
from service.commands.numbers import whole
from service.commands.together import Together, check_others
from service.commands.together import configure as configure_together
from service.errors import NoWalksError, RefusedError
from service.fields import DEFAULT_LIMIT, MAX_LIMIT
from service.schemas import Identified

# The first opens a gate; the second is the one that must never happen.
_OUTCOMES = ("match", "match with somebody else", "inconclusive", "no_match")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the walks, and how much to print."""
    parser.epilog = (
        "Each walk gets a line with the decision and the nearest people. For a folder of walks "
        "<subject>/.../<walk>, the last lines count the decisions, and tell how often the nearest "
        "person was the right one: never for somebody who is not enrolled. The exit status is 1 if "
        "a walk was refused or could not be read, and 2 if the key or the gallery was."
    )
    configure_walks(parser)
    configure_together(parser)
    parser.add_argument(
        "--limit", type=whole(1, MAX_LIMIT), default=DEFAULT_LIMIT, metavar="N",
        help=f"nearest people to print, 1 to {MAX_LIMIT} (default: {DEFAULT_LIMIT})",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Identify the walks, and count how often the nearest is right if the tree names the person."""
    walks = selected(arguments)
    answers: list[tuple[FoundWalk, Identified]] = []
    try:
        _identify_all(arguments, walks, answers)
    finally:
        _print_summary(answers)  # also of the walks before an interrupt or the loss of the service
    return 0 if len(answers) == len(walks) else 1


def _identify_all(
    arguments: argparse.Namespace,
    walks: Sequence[FoundWalk],
    answers: list[tuple[FoundWalk, Identified]],
) -> None:
    """Identify walks, several at once; print each answer in their order and append it."""
    together = Together(arguments.at_once)

    def identify(walk: FoundWalk) -> Identified | str:
        return _identify(client, walk, arguments.limit)

    with (
        client_of(arguments, together.wait) as client,
        closing(together.each(identify, walks)) as outcomes,
    ):
        # `disable=None` shows the bar on a terminal only, so that none goes into a log.
        quiet = True if len(walks) == 1 else None
        shown = tqdm(outcomes, total=len(walks), desc="identify", unit="walk", disable=quiet)
        for walk, outcome in zip(walks, shown, strict=True):
            if isinstance(outcome, str):
                tqdm.write(outcome, file=sys.stderr)
            else:
                answers.append((walk, outcome))
                tqdm.write(_line(walk, outcome), file=sys.stdout)


def _identify(client: Client, walk: FoundWalk, limit: int) -> Identified | str:
    """Identify one walk; returns the answer, or a sentence that says why there is none."""
    try:
        return client.identify(walk.path, limit=limit)
    except (RefusedError, NoWalksError) as error:
        check_others(error)
        return f"{walk}: {error}"


def _line(walk: FoundWalk, answer: Identified) -> str:
    nearest = ", ".join(f"{one.subject} ({one.distance:.3f})" for one in answer.candidates)
    why = f" ({', '.join(answer.reasons)})" if answer.reasons else ""
    return f"{walk}: {answer.decision}{why}; nearest: {nearest or 'nobody is enrolled'}"


def _print_summary(answers: Sequence[tuple[FoundWalk, Identified]]) -> None:
    """Print decisions and rank-1 of the walks whose subject the tree names, by kind of walk."""
    right: dict[str, list[bool]] = defaultdict(list)
    decisions: dict[str, Counter[str]] = defaultdict(Counter)
    for walk, answer in answers:
        if walk.subject is not None:
            nearest = answer.candidates[0].subject if answer.candidates else None
            right[_kind(walk)].append(nearest == walk.subject)
            decisions[_kind(walk)][_outcome(answer, walk.subject)] += 1
    for kind, hits in sorted(right.items()):
        print(
            f"decisions {kind}: {', '.join(f'{decisions[kind][one]} {one}' for one in _OUTCOMES)}"
        )
        print(f"rank-1 {kind}: {100 * sum(hits) / len(hits):.1f} % of {len(hits)} walks")


def _outcome(answer: Identified, subject: str) -> str:
    """Tell what came of a walk of this subject: one of `_OUTCOMES`."""
    if answer.decision != "match":
        return answer.decision
    return "match" if answer.candidates[0].subject == subject else "match with somebody else"


def _kind(walk: FoundWalk) -> str:
    """Return `nm`, `bg` or `cl` of a CASIA-B type; `all` in every other layout."""
    return walk.condition.split("-")[0] if walk.condition else "all"
