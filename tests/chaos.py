"""Rounds of enrolling, erasing, searching and rebuilding from threads, each ended by kill -9.

    python -m tests.chaos --rounds 200                    on SQLite, in a temporary folder
    python -m tests.chaos --rounds 200 --postgres         on a PostgreSQL server of its own
    python -m tests.chaos --rounds 200 --database URL     on an empty database that there is

After each round the store is opened again and compared with what the killed process had said:
nothing that it acknowledged is lost, nothing that it erased is found, the index equals the store,
and the audit log is whole.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from gallery import Gallery, ModelMismatch, audit
from gallery.generations import Model
from gallery.packing import sample_id
from gallery.rebuild import rebuild
from gallery.store import Store
from tests.postgres import serving

LENGTH = 8
ROOT = Path(__file__).parent.parent
THREADS = 3
SUBJECTS = 4  # of each thread; nobody else touches them
MODELS = {"model-a": 1.0, "model-b": -3.0}


def walk(seed):
    return np.random.default_rng(seed).integers(0, 256, (3 + seed % 4, 8, 6), dtype=np.uint8)


class Moments:
    """An embedding that any process works out alike: moments of the pixels, times a factor."""

    def __init__(self, model_id):
        self.facts = SimpleNamespace(model_id=model_id, embedding_length=LENGTH, size=(8, 6))

    def encode(self, walks):
        return np.stack([self._one(one.reshape(-1).astype(np.float32) / 255) for one in walks])

    def _one(self, pixels):
        means = [pixels[start::LENGTH].mean() for start in range(LENGTH)]
        return (MODELS[self.facts.model_id] * np.array(means)).astype(np.float32)


def live_model(location):
    with closing(Store.open(location)) as store:
        return store.head().model.model_id or "model-a"


def open_live(location):
    model_id = live_model(location)
    return Gallery.open(location, model_id=model_id, embedding_length=LENGTH), Moments(model_id)


# --- the process that is killed ---


def work(location, seed):
    """Do things in threads until killed, and say each before and after it is done."""
    gallery, encoder = open_live(location)
    threads = [
        threading.Thread(target=act, args=(gallery, encoder, number, seed))
        for number in range(THREADS)
    ]
    if seed % 2:  # in every second round
        threads.append(threading.Thread(target=rebuild_to_the_other, args=(location, encoder)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gallery.close()


def act(gallery, encoder, number, seed):
    rng = random.Random(f"{seed}/{number}")
    mine = [f"t{number}-{who}" for who in range(SUBJECTS)]
    while True:
        subject, walk_seed = rng.choice(mine), rng.randrange(1_000_000)
        (embedding,) = encoder.encode([walk(walk_seed)])
        action = rng.choices(["enrol", "erase", "identify"], [6, 1, 3])[0]
        try:
            if action == "enrol":
                say("begin", "enrol", subject, walk_seed)
                gallery.enroll(subject, embedding, silhouettes=walk(walk_seed))
                say("done", "enrol", subject, walk_seed)
            elif action == "erase" and any(
                s.subject == subject for s in gallery.subjects(limit=99)
            ):
                say("begin", "erase", subject, 0)
                gallery.erase_subject(subject)
                say("done", "erase", subject, 0)
            else:
                gallery.identify(embedding)
                gallery.note_search("identify", "no_match")
        except ModelMismatch:
            return  # the rebuild has switched


def is_there(gallery, subject):
    return any(summary.subject == subject for summary in gallery.subjects(limit=99))


def rebuild_to_the_other(location, encoder):
    other = next(name for name in MODELS if name != encoder.facts.model_id)
    with closing(Store.open(location)) as store:
        report = rebuild(store, Moments(other), batch=2)
    say("done", "rebuild", other, report.embedded)


def say(*words):
    # One write a line, so that threads do not mix theirs and a kill cuts off at most the last.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


# --- the process that kills, and compares ---


@dataclass
class Expected:
    """What must be there, by subject: walk seeds that were acknowledged and not erased."""

    there: dict = field(default_factory=dict)
    begun: dict = field(default_factory=dict)
    rebuilds: int = 0
    acknowledged: int = 0

    def read(self, line):
        if not line.endswith("\n"):
            return  # cut off by the kill
        when, action, subject, number = line.split()
        if action == "rebuild":
            self.rebuilds += 1
            return
        if when == "begin":
            self.begun[subject] = (action, int(number))
            return
        self.begun.pop(subject)
        self.acknowledged += 1
        if action == "enrol":
            self.there.setdefault(subject, set()).add(int(number))
        else:
            self.there.pop(subject, None)


def compare(location, expected):
    """Open the store and find in it what was said, no less and no more."""
    gallery, encoder = open_live(location)
    with closing(gallery):
        status = gallery.status()
        assert status.in_sync, status
        found = {
            summary.subject: {s.sample_id for s in gallery.subject(summary.subject).samples}
            for summary in gallery.subjects(limit=99)
        }
        for subject in found.keys() | expected.there.keys() | expected.begun.keys():
            expected.there[subject] = settle(expected, subject, found)
        expected.there = {who: seeds for who, seeds in expected.there.items() if seeds}
        expected.begun.clear()
        assert status.samples == sum(map(len, expected.there.values()))
        check_searches(gallery, encoder, expected)
        with gallery._store.database.reading() as connection:
            audit.verify(connection, "main")


def settle(expected, subject, found):
    """Decide which of the allowed states a subject is in; returns its walk seeds."""

    def ids(seeds):
        return {sample_id(subject, walk(seed)) for seed in seeds}

    sure = expected.there.get(subject, set())
    action, seed = expected.begun.get(subject, (None, 0))
    allowed = [sure]
    if action == "enrol":
        allowed.append(sure | {seed})
    elif action == "erase":
        allowed.append(set())
    for seeds in allowed:
        if ids(seeds) == found.get(subject, set()):
            return seeds
    raise AssertionError(
        f"expected {subject} with {len(sure)} samples (or what {action} makes of them), "
        f"got {len(found.get(subject, set()))}"
    )


def check_searches(gallery, encoder, expected):
    everybody = {c.subject for c in gallery.identify(np.zeros(LENGTH, np.float32), limit=99)}
    assert everybody == set(expected.there)
    for subject, seeds in expected.there.items():
        (embedding,) = encoder.encode([walk(min(seeds))])
        nearest = gallery.identify(embedding, limit=1)[0]
        assert nearest.distance < 1e-4
        assert gallery.verify(subject, embedding).distance < 1e-4


def one_round(location, expected, number, rng):
    command = [sys.executable, "-m", "tests.chaos", "--work", str(location), "--seed", str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        rebuilds, lines = expected.rebuilds, rng.randrange(5, 80)
        for count, line in enumerate(process.stdout):
            expected.read(line)
            # Some rounds go on until a rebuild has switched, and the next one works with its model.
            if expected.rebuilds > rebuilds or (number % 4 != 3 and count >= lines):
                break
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            expected.read(line)
    compare(location, expected)


def run_rounds(location, rounds, seed=0):
    """Run rounds and compare after each; returns what was expected at the end."""
    rng, expected = random.Random(seed), Expected()
    with closing(Gallery.open(location, model_id="model-a", embedding_length=LENGTH)) as gallery:
        assert gallery.live_model() == Model("model-a", LENGTH)
    for number in range(rounds):
        one_round(location, expected, number, rng)
        if (number + 1) % 10 == 0:
            print(f"{number + 1} rounds, {expected.rebuilds} rebuilds", file=sys.stderr)
    return expected


@contextmanager
def a_place(arguments) -> Iterator[str]:
    """Give an empty database, in a temporary folder unless another one is asked for."""
    if arguments.database:
        yield arguments.database
    elif arguments.postgres:
        with serving() as server, server.database() as url:
            yield url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--database", help="URL of an empty database instead of SQLite")
    place.add_argument("--postgres", action="store_true", help="start a PostgreSQL server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.seed)
        return
    with a_place(arguments) as location:
        started = time.monotonic()
        expected = run_rounds(location, arguments.rounds, arguments.seed)
        samples = sum(map(len, expected.there.values()))
        print(
            f"{arguments.rounds} rounds, {expected.acknowledged} acknowledged writes, "
            f"{expected.rebuilds} rebuilds finished, {samples} samples at the end, nothing lost "
            f"and nothing returned, {time.monotonic() - started:.0f} s"
        )


if __name__ == "__main__":
    main()
