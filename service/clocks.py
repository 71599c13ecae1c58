"""What a piece of work took: by the clock on the wall, and by the processor in its own thread."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

R = TypeVar("R")

TOGETHER = 2 * 1024 * 1024
"""Bytes of items from which on no further one is made together with them."""


@dataclass
class Clock:
    """Adds up the seconds of what is done within `running`; belongs to one thread at a time."""

    wall_s: float = 0.0
    processor_s: float = 0.0
    """Of the thread that runs it; threads that it starts or waits for are not in it."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what the block takes."""
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall_s += time.perf_counter() - wall
            self.processor_s += time.thread_time() - processor

    def __sub__(self, part: "Clock") -> "Clock":
        """What is left of this without a part of it: not less than nothing, as rounding has it."""
        return Clock(
            max(0.0, self.wall_s - part.wall_s), max(0.0, self.processor_s - part.processor_s)
        )

    def __add__(self, other: "Clock") -> "Clock":
        """Both together."""
        return Clock(self.wall_s + other.wall_s, self.processor_s + other.processor_s)


class Timed(Iterator[R]):
    """An iterator, and what it took to make its items, which are made some at a time.

    One at a time would be slower by a tenth for small frames: reading the processor's clock is a
    call of the system, and a step's code and data stay in the caches while it is done in a row.
    """

    def __init__(
        self, items: Iterator[R], size: Callable[[R], int], clock: Clock | None = None
    ) -> None:
        """Take `items`, each of so many bytes, and add to a `clock` that may have run before."""
        self._items, self._size = items, size
        self._made: deque[R] = deque()
        self.clock = Clock() if clock is None else clock

    def __next__(self) -> R:
        """Give the next item; what goes wrong with one made together with it is raised first."""
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
    """Do some work, and tell what it took."""
    clock = Clock()
    with clock.running():
        return work(), clock
