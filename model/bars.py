"""How far a long piece of work has come: a bar on a terminal, a few lines in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_LINES = 10
"""How many lines a log gets in all."""


@contextmanager
def progress_bar(total: int, unit: str) -> Iterator[Callable[[object], None]]:
    """Show progress; yield a function that advances it by one and ignores its argument."""
    with progress_count(total, unit) as advance:

        def advance_by_one(_: object) -> None:
            advance(1)

        yield advance_by_one


@contextmanager
def progress_count(total: int, unit: str, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show progress, unless it is not wanted; yield a function that advances it by a number."""
    if shown and not sys.stderr.isatty():
        # A bar is redrawn several times a second, and a log would keep every state of it.
        yield _Lines(total, unit).advance
        return
    with tqdm(total=total, unit=unit, disable=not shown) as bar:

        def advance(by: int) -> None:
            bar.update(by)

        yield advance


class _Lines:
    """Prints a line to standard error at each tenth of the work."""

    def __init__(self, total: int, unit: str) -> None:
        self._total = total
        self._unit = unit
        self._done = 0

    def advance(self, by: int) -> None:
        before, self._done = self._done, self._done + by
        if self._tenths(self._done) > self._tenths(before):
            words = f"{self._done} of {self._total} {self._unit}s"
            print(words, file=sys.stderr, flush=True)

    def _tenths(self, done: int) -> int:
        return _LINES * done // self._total
