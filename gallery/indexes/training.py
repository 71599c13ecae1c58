"""Trains a projection and recodes the gallery in the background, while the gallery stays in use.

A worker thread of the index does this. Samples enrolled or erased meanwhile are corrected when the
result is taken over.
"""

import logging
from concurrent.futures import Executor, Future
from threading import Event
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.codes import CodeTable
from gallery.indexes.principal import train
from gallery.indexes.projection import Projection
from gallery.indexes.slots import PAGE, DamagedError, Recoding, SlotFiles

# Vectors that a projection is trained on: 128 MiB if they have 4,096 numbers.
SAMPLE = 8192
# Retrain whenever the gallery has doubled, until it is this many times the sample.
_SETTLED = 8
_LOG = logging.getLogger("metagait.gallery")


class Trained(NamedTuple):
    """A projection, with the codes of all samples by it, in memory and in their file."""

    projection: Projection
    table: CodeTable
    recoding: Recoding


class Refused(NamedTuple):
    """A projection that keeps too little to be useful."""

    kept: float
    trained_at: int


class Trainer:
    """Trains projections of `dimensions`, one at a time; refuses any that keep too little.

    `first_at` is the number of samples of the first training, `enough` the share of the variance
    around the mean that a projection must keep.
    """

    def __init__(
        self, dimensions: int, *, first_at: int, enough: float, executor: Executor
    ) -> None:
        self._dimensions = dimensions
        self._first_at = first_at
        self._enough = enough
        self._executor = executor
        self._job: Future[Trained | Refused | None] | None = None
        self._stop = Event()
        self._recoding: Recoding | None = None
        self._touched: list[NDArray[np.int64]] = []
        self._last_at = self._begun_at = 0

    def note_last(self, trained_at: int) -> None:
        """Record at how many samples the projection in use was trained, or one was refused."""
        self._last_at = trained_at

    def note_touched(self, slots: NDArray[np.int64]) -> None:
        """Record slots that were filled or emptied, as running work may have missed them."""
        if self._job is not None:
            self._touched.append(slots)

    def drop(self, slots: NDArray[np.int64]) -> None:
        """Overwrite what running work has written of slots that were emptied in the files."""
        if self._recoding is not None:
            self._recoding.drop(slots)

    def is_due(self, count: int) -> bool:
        """Tell whether a gallery of `count` samples needs a projection, or a better one."""
        is_settled = self._last_at >= _SETTLED * SAMPLE
        is_grown = count >= max(self._first_at, 2 * self._last_at)
        return is_grown and not is_settled and self._job is None

    def begin(self, files: SlotFiles, slots: NDArray[np.int64]) -> None:
        """Start training on used slots int64 `[N]` of the files, in ascending order."""
        self._stop, self._touched, self._recoding = Event(), [], None
        self._begun_at = len(slots)
        self._job = self._executor.submit(self._work, files, slots, self._stop)

    def result(self) -> tuple[Trained | Refused, NDArray[np.int64]] | None:
        """Take the result, with the slots touched meanwhile; None as long as there is none.

        There is none either if the work failed, for want of room or memory: it is tried again when
        the gallery has doubled.

        Raises:
            DamagedError: the work met a file that must not be trusted.

        """
        if self._job is None or not self._job.done():
            return None
        job, self._job, self._recoding = self._job, None, None
        failure = job.exception()
        if isinstance(failure, DamagedError):
            raise failure
        if failure is not None:
            _LOG.warning("the compact index goes on without a new projection, got: %r", failure)
            self._last_at = self._begun_at
            return None
        found = job.result()
        touched = np.concatenate([np.empty(0, np.int64), *self._touched])
        return None if found is None else (found, np.unique(touched))

    def stop(self) -> None:
        """Stop the work and wait until it has ended; nothing of it is kept."""
        self._stop.set()
        job, self._job, self._recoding = self._job, None, None
        found = None if job is None or job.exception() else job.result()
        if isinstance(found, Trained):
            found.recoding.abandon()

    def _work(
        self, files: SlotFiles, slots: NDArray[np.int64], stop: Event
    ) -> Trained | Refused | None:
        chosen = np.sort(np.random.default_rng(0).permutation(slots)[:SAMPLE])
        projection = train(files.vectors(chosen), self._dimensions, trained_at=len(slots))
        if projection.kept < self._enough:
            _LOG.warning(
                "expected a projection to %d numbers that keeps %.0f %% of the spread, got one "
                "that keeps %.0f %%: the compact index goes on without it",
                *(self._dimensions, 100 * self._enough, 100 * projection.kept),
            )
            return Refused(projection.kept, len(slots))
        return self._coded(projection, files, slots, stop)

    def _coded(
        self, projection: Projection, files: SlotFiles, slots: NDArray[np.int64], stop: Event
    ) -> Trained | None:
        table = CodeTable(projection)
        table.reserve(int(slots[-1]) + 1)
        recoding = self._recoding = files.recode(projection)
        try:
            for start in range(0, len(slots), PAGE):
                if stop.is_set():
                    recoding.abandon()
                    return None
                page = slots[start : start + PAGE]
                table.put(page, recoding.put(page))
        except BaseException:
            recoding.abandon()
            raise
        return Trained(projection, table, recoding)
