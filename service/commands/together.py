"""Sends several walks at a time, and pauses all of them while the service is busy."""

import argparse
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event, Lock
from typing import TypeVar

from service.commands.numbers import whole
from service.errors import ClientError, RefusedError

AT_ONCE = 4
_MOST_AT_ONCE = 64
# The service refuses every walk for these, so that to send the others is of no use.
_ALIKE = frozenset({"unauthenticated", "missing_scope", "foreign_gallery", "gallery_not_found"})
T = TypeVar("T")
R = TypeVar("R")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare how many walks to send at a time."""
    parser.add_argument(
        "--at-once", type=whole(1, _MOST_AT_ONCE), default=AT_ONCE, metavar="N",
        help=f"walks to send at a time, 1 to {_MOST_AT_ONCE} (default: {AT_ONCE})",
    )  # fmt: skip


def check_others(refused: ClientError) -> None:
    """Raise a refusal that every other walk would meet as well."""
    if isinstance(refused, RefusedError) and refused.code in _ALIKE:
        raise refused


class Together:
    """Works on several items at a time; one that is told to come back later holds up all others.

    So a busy service is asked no more often than by a caller that sends one walk after another,
    and no walk of ours takes the place that another was promised.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._going = Lock()
        self._ended = Event()

    def wait(self, seconds: float) -> None:
        """Wait, and let nothing begin meanwhile; serves as a client's `wait`.

        Raises:
            CancelledError: the work was ended.

        """
        with self._going:
            if self._ended.wait(seconds):
                raise CancelledError

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> Generator[R]:
        """Do the work for each item, and yield the results in the order of the items.

        If the caller or a failing item ends it, work that has begun is finished and no more begins.
        """

        def begun(item: T) -> R:
            with self._going:
                if self._ended.is_set():
                    raise CancelledError
            return work(item)

        with ThreadPoolExecutor(self._at_once) as pool:
            try:
                yield from pool.map(begun, items)
            finally:
                self._ended.set()
