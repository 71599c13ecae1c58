"""What a piece of work took: by the clock on the wall, and by the processor in its own thread."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

R = TypeVar("R")


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
    """An iterator, and what it took to make the items that were taken from it.

    Added to a `clock` that has run before, where there is one.
    """

    def __init__(self, items: Iterator[R], clock: Clock | None = None) -> None:
        self._items = items
        self.clock = Clock() if clock is None else clock

    def __next__(self) -> R:
        """Give the next item."""
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            return next(self._items)
        finally:
            self.clock.wall_s += time.perf_counter() - wall
            self.clock.processor_s += time.thread_time() - processor


def timed(work: Callable[[], R]) -> tuple[R, Clock]:
    """Do some work, and tell what it took."""
    clock = Clock()
    with clock.running():
        return work(), clock
