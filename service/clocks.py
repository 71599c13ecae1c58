"""Clocks that measure a piece of work in wall time and in processor time of its own thread."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

R = TypeVar("R")

TOGETHER = 2 * 1024 * 1024
"""Items are made ahead in one go until they have this many bytes."""


@dataclass
class Clock:
    """Adds up the seconds of the blocks run in `running`; used by one thread at a time."""

    wall_s: float = 0.0
    processor_s: float = 0.0
    """Of the running thread alone, without threads that it starts or waits for."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that the block takes."""
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.processor_s += time.thread_time() - processor

    def __sub__(self, part: "Clock") -> "Clock":
        """Return this time without a part of it; at least 0, whatever the rounding."""
        return Clock(
            max(0.0, self.wall_s - part.wall_s), max(0.0, self.processor_s - part.processor_s)
        )

    def __add__(self, other: "Clock") -> "Clock":
        """Return the sum of both."""
        return Clock(self.wall_s + other.wall_s, self.processor_s + other.processor_s)


class Timed(Iterator[R]):
    """An iterator that measures how long its items took to make, and makes several at a time.

    Making them singly would be a tenth slower for small frames: reading the processor clock is a
    system call, and a step's code and data stay in the caches while it is repeated.
    """

    def __init__(
        self, items: Iterator[R], size: Callable[[R], int], clock: Clock | None = None
    ) -> None:
        """Wrap `items`, whose bytes `size` tells, and add to `clock`, which may have run before."""
        self._items, self._size = items, size
        self._made: deque[R] = deque()
        self.clock = Clock() if clock is None else clock

    def __next__(self) -> R:
        """Return the next item; an error in any item that is made along with it is raised first."""
        if not self._made:
            self._make()
        if not self._made:
            raise StopIteration
        return self._made.popleft()

    def _make(self) -> None:
        room = TOGETHER
        with self.clock.running():
            for item in self._items:
                self._made.append(item)
                room -= self._size(item)
                if room <= 0:
                    break


def timed(work: Callable[[], R]) -> tuple[R, Clock]:
    """Do some work; returns its result, and how long it took."""
    clock = Clock()
    with clock.running():
        return work(), clock
