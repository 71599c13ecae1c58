"""Work on many items: in several processes, in their order, and with a bar for who watches."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2
from tqdm import tqdm

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")

_AHEAD = 2
"""Results a process may be ahead of the reader; one can be many megabytes."""


def mapped(make: Callable[[_Item], _Made], items: Sequence[_Item], workers: int) -> Iterator[_Made]:
    """Yield `make(item)` in the order of `items`; with one worker in this very process."""
    if workers == 1:
        yield from map(make, items)
        return
    # OpenCV's and BLAS's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
        waiting: deque[Future[_Made]] = deque()
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[object], None]]:
    """Show a bar, and yield what advances it by one, whatever it is called with."""
    with tqdm(total=total, unit=unit) as bar:

        def advance(_: object) -> None:
            bar.update()

        yield advance


def _one_thread() -> None:
    cv2.setNumThreads(1)
