"""Parallel map over many items that keeps their order."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

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
    pool = ProcessPoolExecutor(workers, context, initializer=_prepare)
    try:
        waiting: deque[Future[_Made]] = deque()
        for item in items:
            with _interrupts_later():
                waiting.append(pool.submit(make, item))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back for a moment, also in a process that is started in it, until `_prepare`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare() -> None:
    """Prepare a process that makes results: one thread, and a silent end at Ctrl-C.

    A terminal sends Ctrl-C to every process of a command, and each would print a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    cv2.setNumThreads(1)
