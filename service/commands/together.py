"""Sends several walks at once, as long as the service has room for them."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event, Lock
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Together:
    """Works on a number of items at a time; who is told to come back later holds up all of them.

    So a service that is busy is asked no more often than by somebody who sends one walk after
    another, and none of ours takes the place that another one was promised.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._going = Lock()
        self._ended = Event()

    def wait(self, seconds: float) -> None:
        """Wait, and let nothing begin meanwhile: a client's `wait`.

        Raises:
            CancelledError: it is all over.

        """
        with self._going:
            if self._ended.wait(seconds):
                raise CancelledError

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> Generator[R]:
        """Do the work for each item; the results come in the order of the items.

        When the caller or an item ends it, what has begun is finished and nothing else begins.
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
