"""Threads and killed processes: what was acknowledged is there, what was erased is not."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import event

from gallery import Gallery, IndexUnavailable
from gallery.generations import Model
from gallery.index import ExactIndex
from gallery.sharing import SharedLock
from gallery.store import Store

LENGTH = 8

ENROLL_FOR_EVER = """
import sys
import numpy as np
from gallery import Gallery

gallery = Gallery.open(sys.argv[1], model_id="model-a", embedding_length=8)
for number in range(int(sys.argv[2]), 1_000_000):
    rng = np.random.default_rng(number)
    embedding = rng.normal(size=8).astype(np.float32)
    silhouettes = rng.integers(0, 256, (4, 8, 6), dtype=np.uint8)
    gallery.enroll(f"s{number}", embedding, silhouettes=silhouettes)
    print(number, flush=True)
"""


def open_gallery(folder, index=None):
    return Gallery.open(folder, model_id="model-a", embedding_length=LENGTH, index=index)


class SickIndex(ExactIndex):
    """Neither begins nor ends."""

    def begin(self, name, retired=()):
        raise IndexUnavailable("expected to begin")

    def close(self):
        raise IndexUnavailable("expected to end")


def test_an_index_that_fails_twice_leaves_no_store_open(tmp_path):
    store, closed = Store.open(tmp_path), []
    event.listen(store.database.engine, "close", lambda *_: closed.append(True))
    with pytest.raises(IndexUnavailable, match="expected to end"):
        Gallery.over(store, Model("model-a", LENGTH), SickIndex(LENGTH))
    assert closed


class WatchedIndex(ExactIndex):
    """Notes when it is changed while it is searched, which FAISS does not survive."""

    searching = 0
    changed_while_searched = 0

    def search(self, vector, k):
        self.searching += 1
        time.sleep(0)  # let another thread run, if the gallery lets it
        found = super().search(vector, k)
        self.searching -= 1
        return found

    def add(self, rows, vectors, marks=None):
        for _ in range(10):
            time.sleep(0)
            self.changed_while_searched += bool(self.searching)
        super().add(rows, vectors, marks)


def embedding(seed):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


def enroll_until_killed(folder, start, count):
    """Kill -9 a process that enrols, after `count` acknowledgements; returns all it gave."""
    command = [sys.executable, "-c", ENROLL_FOR_EVER, str(folder), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        acknowledged = [int(process.stdout.readline()) for _ in range(count)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    return acknowledged


def test_everything_acknowledged_before_kill_9_is_found(location):
    acknowledged = []
    for round_number in range(3):
        start = acknowledged[-1] + 2 if acknowledged else 0
        acknowledged += enroll_until_killed(location, start, 15 + 7 * round_number)
        gallery = open_gallery(location)
        status = gallery.status()
        assert status.in_sync
        # The enrolment that was under way when the process died may be there, and no other.
        assert len(acknowledged) <= status.samples <= len(acknowledged) + round_number + 1
        for number in acknowledged:
            assert gallery.identify(embedding(number), limit=1)[0].subject == f"s{number}"
        gallery.close()


def test_threads_enrol_identify_and_erase_at_once(location):
    gallery, other = open_gallery(location), open_gallery(location)
    rounds, threads = 12, 4

    def work(thread):
        mine = gallery if thread % 2 else other
        for number in range(rounds):
            seed = 1000 * thread + number
            sample = mine.enroll(f"s{seed}", embedding(seed), silhouettes=None).sample
            found = mine.identify(embedding(seed), limit=1)[0]
            assert (found.subject, found.distance) == (f"s{seed}", 0)
            if number % 3 == 0:
                mine.erase_sample(sample.sample_id)
                assert all(c.subject != f"s{seed}" for c in mine.identify(embedding(seed)))
            assert mine.status().in_sync

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, thread) for thread in range(threads)]:
            done.result(timeout=120)
    left = {f"s{1000 * t + n}" for t in range(threads) for n in range(rounds) if n % 3}
    for one in (gallery, other):
        assert {c.subject for c in one.identify(embedding(0), limit=100)} == left
        assert one.status().in_sync
        one.close()


def test_the_index_is_never_changed_while_it_is_searched(location):
    index, done = WatchedIndex(LENGTH), threading.Event()
    gallery = open_gallery(location, index)
    gallery.enroll("anna", embedding(0), silhouettes=None)

    def search():
        while not done.is_set():
            gallery.identify(embedding(1))

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        try:
            for seed in range(1, 60):
                gallery.enroll("anna", embedding(seed), silhouettes=None)
        finally:
            done.set()
        for job in searches:
            job.result(timeout=60)
    assert (len(index), index.changed_while_searched) == (60, 0)
    gallery.close()


def test_many_threads_enrolling_one_walk_make_one_sample(location):
    gallery = open_gallery(location)
    start = threading.Barrier(6)

    def work():
        start.wait(timeout=30)
        return gallery.enroll("anna", embedding(1), silhouettes=None).duplicate

    with ThreadPoolExecutor(6) as pool:
        duplicates = [done.result(timeout=60) for done in [pool.submit(work) for _ in range(6)]]
    assert sorted(duplicates) == [False] + [True] * 5
    assert gallery.status().samples == 1
    gallery.close()


def test_readers_share_the_lock_and_a_writer_has_it_alone():
    lock, together = SharedLock(), threading.Barrier(3)
    value = [0, 0]

    def read():
        with lock.shared():
            together.wait(timeout=30)  # passes only when all three hold the lock at once
        for _ in range(200):
            with lock.shared():
                first = value[0]
                time.sleep(0)  # let another thread run, if the lock lets it
                assert first == value[1]

    def write():
        for _ in range(200):
            with lock.alone():
                value[0] += 1
                time.sleep(0)
                value[1] = value[0]

    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(job) for job in (read, read, read, write, write)]
        for job in jobs:
            job.result(timeout=60)
    assert value == [400, 400]


def test_a_lock_is_given_back_after_an_error():
    lock = SharedLock()
    for hold in (lock.shared, lock.alone):
        with pytest.raises(ValueError, match="inside"), hold():
            raise ValueError("inside")
    with lock.alone():
        pass
