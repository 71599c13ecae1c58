"""Indexes to test, vectors to fill them with, and the same search in plain numpy."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from threading import Event

import numpy as np

from gallery.indexes.compact import CompactIndex

LENGTH = 24


class Clock:
    """Seconds that pass when it is said."""

    now = 100.0

    def __call__(self):
        return self.now


class AtOnce(Executor):
    """Does in `submit` what a worker would do later."""

    def submit(self, work, /, *arguments, **named):
        done = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


def compact(folder, **changes):
    choices = {"dimensions": 8, "first_at": 40, "enough": 0.3, "executor": AtOnce(), **changes}
    return CompactIndex(LENGTH, folder, **choices)


class Later(AtOnce):
    """Does the work when it is told to."""

    def submit(self, work, /, *arguments, **named):
        self.finish = lambda: done.set_result(work(*arguments, **named))
        done = Future()
        return done


class Halfway(Executor):
    """Does the work in a thread, which waits when it has written one page of codes."""

    def __init__(self, then=lambda: None):
        self._then = then  # what happens when it goes on
        self._is_there, self._may_go = Event(), Event()
        self._asked = 0

    def submit(self, work, /, files, slots, stop):
        self._stop = stop
        self._worker = ThreadPoolExecutor(1)
        self._done = self._worker.submit(work, files, slots, self)
        return self._done

    def is_set(self):
        """Stand in for the event that the work looks at before each page."""
        self._asked += 1
        if self._asked == 2:
            self._is_there.set()
            self._may_go.wait(60)
            self._then()
        return self._stop.is_set()

    def wait(self):
        assert self._is_there.wait(60)

    def go_on(self):
        self._may_go.set()
        wait([self._done], 60)
        self._worker.shutdown()


def reopened(index, folder, **changes):
    index.close()
    again = compact(folder, **changes)
    return again, again.begin("g1_a")


def vectors(seed, count, subjects=10):
    """Vectors that spread as embeddings do: between subjects, less within, in few directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(subjects, 4)) @ np.eye(4, LENGTH) * 3
    own = centres[rng.integers(0, subjects, count)]
    return (own + rng.normal(size=(count, LENGTH)) * 0.4 + 1).astype(np.float32)


def fill(index, rows, seed=0):
    rows = np.asarray(rows, np.int64)
    added = vectors(seed, len(rows))
    index.add(rows, added, rows * 7)
    return dict(zip(rows.tolist(), added, strict=True))


def brute_force(stored, probe, k):
    rows = np.array(list(stored))
    squared = ((np.stack(list(stored.values())).astype(np.float64) - probe) ** 2).sum(axis=1)
    order = np.argsort(squared, kind="stable")[:k]
    return squared[order], rows[order]


def check(index, stored, probes, k):
    assert len(index) == len(stored)
    for probe in probes:
        squared, rows = index.search(probe, k)
        expected_squared, expected_rows = brute_force(stored, probe, k)
        assert (squared.dtype, rows.dtype, squared.shape) == (np.float32, np.int64, (k,))
        np.testing.assert_allclose(squared, expected_squared, rtol=2e-4, atol=1e-4)
        assert rows.tolist() == expected_rows.tolist()
