"""Parallel map over many items that keeps their order, and a progress bar."""

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
"""How many results each process may be ahead of the reader; a result can be many megabytes."""


def mapped(make: Callable[[_Item], _Made], items: Sequence[_Item], workers: int) -> Iterator[_Made]:
    """Yield `make(item)` in the order of `items`; a single worker runs in this very process."""
    if workers == 1:
        yield from map(make, items)
        return
    # The threads of OpenCV and BLAS do not survive a fork.
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
    """Show a progress bar; yield a function that advances it by one and ignores its argument."""
    with tqdm(total=total, unit=unit) as bar:

        def advance(_: object) -> None:
            bar.update()

        yield advance


def _one_thread() -> None:
    cv2.setNumThreads(1)
