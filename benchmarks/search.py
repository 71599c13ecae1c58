"""How fast, small and right the compact index is, beside plain FAISS and numpy on the same data.

    python benchmarks/search.py FOLDER [--samples 10000 100000] [--probes 40] [--seen FILE.npz]

FOLDER takes the embeddings while it runs (twice 16 KiB a sample) and is emptied again.

The embeddings are made up, with the spread of the shipped model's. Its embeddings of synthetic
walkers are measured first, and kept in `--seen` for the next run: how subjects lie around their
mean, and walks around their subject. Subjects and walks are drawn from normal distributions of
these covariances, and each part is scaled to unit length, as the model does. What the 128 largest
directions leave out of a walk is taken from a real walk with a random sign, so that the tail is as
long as the model's. A subject has five samples; the probes are other walks of enrolled subjects.

FlatL2 and numpy read every number of every sample, so the bandwidth of the memory is their floor;
it is measured in the same run. All times are processor time of one thread, so that other work on
the machine does not count: set OPENBLAS_NUM_THREADS=1. A gallery larger than `--memory-gib` is read
in blocks, and only the comparing is counted for FlatL2 and numpy, not the reading from the disk,
which favours them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from gallery.indexes.compact import CompactIndex
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.walkers.generate import packed_walk
from model.walkers.settings import WalkerSettings

Floats = NDArray[np.float32]
PER_SUBJECT, PARTS, BLOCK, MANY = 5, 64, 4096, 64
_DIRECTIONS = 128
_SEEN_SUBJECTS = range(10_001, 10_151)
_GIB = 1 << 30


class Spread(NamedTuple):
    """How the model's embeddings lie: a mean, factors float32 `[n, L]`, and real tails."""

    mean: Floats
    between: Floats
    within: Floats
    tails: Floats


def seen(path: Path) -> tuple[Floats, NDArray[np.int64]]:
    """Embed synthetic walkers, or read what an earlier run embedded: embeddings and subjects."""
    if path.exists():
        with np.load(path) as file:
            return file["embeddings"], file["subjects"]
    encoder, settings = OnnxEncoder.open(SHIPPED_MODEL), WalkerSettings(frames=20)
    asked = [
        (s, c, v)
        for s in _SEEN_SUBJECTS
        for c in ("nm-01", "nm-05", "cl-01")
        for v in (36, 90, 144)
    ]
    walks = [packed_walk(*one, settings) for one in asked]
    embeddings = np.concatenate([encoder.encode([walk]) for walk in walks])
    subjects = np.array([subject for subject, _, _ in asked])
    np.savez(path, embeddings=embeddings, subjects=subjects)
    return embeddings, subjects


def measure(embeddings: Floats, subjects: NDArray[np.int64]) -> Spread:
    """Find the covariances between and within subjects, as factors."""
    _, place = np.unique(subjects, return_inverse=True)
    means = np.stack([embeddings[place == one].mean(axis=0) for one in range(place.max() + 1)])
    mean, residuals = means.mean(axis=0), embeddings - means[place]
    _, sizes, directions = np.linalg.svd(means - mean, full_matrices=False)
    between = directions * sizes[:, None] / np.sqrt(len(means) - 1)
    _, sizes, directions = np.linalg.svd(residuals, full_matrices=False)
    kept = directions[:_DIRECTIONS]
    # A subject's mean took one walk of each subject's freedom away.
    wider = np.sqrt(len(embeddings) / (len(embeddings) - len(means)))
    within = kept * sizes[:_DIRECTIONS, None] / np.sqrt(len(embeddings)) * wider
    tails = (residuals - residuals @ kept.T @ kept) * wider
    return Spread(mean, *(np.float32(part) for part in (between, within, tails)))


def walks_of(spread: Spread, subjects: NDArray[np.int64], seed: int) -> Floats:
    """Draw a walk float32 `[N, L]` of each subject given; a subject is always the same one."""
    rng = np.random.default_rng([seed, int(subjects[0])])
    own = {
        one: np.random.default_rng([7, one]).normal(size=len(spread.between))
        for one in set(subjects.tolist())
    }
    centres = np.float32([own[one] for one in subjects.tolist()]) @ spread.between
    drawn = rng.standard_normal((len(subjects), len(spread.within)), np.float32) @ spread.within
    signs = rng.choice(np.float32([-1, 1]), (len(subjects), 1))
    walks = spread.mean + centres + drawn
    walks += signs * spread.tails[rng.integers(0, len(spread.tails), len(subjects))]
    parts = walks.reshape(len(walks), PARTS, -1)
    parts /= np.linalg.norm(parts, axis=2, keepdims=True)
    return np.ascontiguousarray(walks, np.float32)


def bandwidth() -> float:
    """Bytes a second that one thread reads, by the best of several dot products."""
    first, second = np.ones(1 << 26, np.float32), np.ones(1 << 26, np.float32)
    return 2 * first.nbytes / min(timed(lambda: np.dot(first, second)) for _ in range(7))


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor that the work takes in this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


class Plain:
    """FlatL2 and numpy over the gallery's file, in blocks of what fits into the memory."""

    def __init__(self, path: Path, samples: int, length: int, memory: int) -> None:
        self._vectors = np.memmap(path, np.float32, "r", shape=(samples, length))
        self._rows = max(BLOCK, memory // (4 * length))
        self._loaded: tuple[int, Floats, faiss.IndexFlatL2] | None = None

    def blocks(self) -> Iterator[tuple[int, Floats, faiss.IndexFlatL2]]:
        """Yield where a block starts, its vectors in memory, and a FlatL2 that holds them."""
        if len(self._vectors) <= self._rows and self._loaded is not None:
            yield self._loaded
            return
        for start in range(0, len(self._vectors), self._rows):
            flat = faiss.IndexFlatL2(self._vectors.shape[1])
            for at in range(start, min(start + self._rows, len(self._vectors)), BLOCK):
                end = min(at + BLOCK, start + self._rows, len(self._vectors))
                flat.add(np.ascontiguousarray(self._vectors[at:end]))
            vectors = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
            self._loaded = (start, vectors.reshape(flat.ntotal, flat.d), flat)
            yield self._loaded

    def compare(self, probes: Floats) -> tuple[NDArray[np.int64], dict[str, float]]:
        """Find the nearest row of each probe by FlatL2, and the seconds of one and 64 probes."""
        best = np.full(len(probes), np.inf)
        nearest = np.zeros(len(probes), np.int64)
        seconds = dict.fromkeys(("flat", "flat many", "numpy", "numpy many"), 0.0)
        many = np.resize(probes, (MANY, probes.shape[1]))
        for start, vectors, flat in self.blocks():
            norms = np.einsum("nl,nl->n", vectors, vectors)
            took = []
            for number, probe in enumerate(probes):
                begun = time.thread_time()
                squared, rows = flat.search(probe[None], 1)
                took.append(time.thread_time() - begun)
                if squared[0, 0] < best[number]:
                    best[number], nearest[number] = squared[0, 0], rows[0, 0] + start
            seconds["flat"] += statistics.median(took)
            seconds["flat many"] += timed(lambda flat=flat: flat.search(many, 1))
            one = [
                timed(lambda v=vectors, n=norms, p=p: np.argmin(n - 2 * (v @ p)))
                for p in probes[:5]
            ]
            seconds["numpy"] += statistics.median(one)
            seconds["numpy many"] += timed(
                lambda v=vectors, n=norms: np.argmin(n - 2 * (many @ v.T), axis=1)
            )
        return nearest, seconds


def fill(spread: Spread, folder: Path, samples: int) -> tuple[float, float]:
    """Write the gallery's file and build the compact index; seconds of adding and of training."""
    length = len(spread.mean)
    worker = ThreadPoolExecutor(1)
    # Trained once, on the whole: a gallery that grows slowly trains at every doubling instead.
    index = CompactIndex(length, folder / "index", first_at=samples - 1, executor=worker)
    index.begin("benchmark")
    adding = 0.0
    with (folder / "vectors").open("wb") as file:
        for start in range(0, samples - 1, BLOCK):
            rows = np.arange(start, min(start + BLOCK, samples - 1))
            vectors = walks_of(spread, rows // PER_SUBJECT, 1)
            file.write(vectors.tobytes())
            adding += timed(lambda r=rows, v=vectors: index.add(r, v, r))
        last = np.arange(samples - 1, samples)
        vectors = walks_of(spread, last // PER_SUBJECT, 1)
        file.write(vectors.tobytes())
    # The last sample is added when the training has ended, and takes it over.
    training = worker.submit(time.thread_time).result()
    adding += timed(lambda: index.add(last, vectors, last))
    adding += timed(index.close)
    return adding, training


def run(spread: Spread, folder: Path, samples: int, probes: int, memory: int) -> None:
    """Measure one size and print its rows."""
    length = len(spread.mean)
    adding, training = fill(spread, folder, samples)
    rng = np.random.default_rng(3)
    asked = walks_of(spread, np.sort(rng.integers(0, samples // PER_SUBJECT, probes)), 2)
    index = CompactIndex(length, folder / "index")
    start = timed(lambda: index.begin("benchmark"))
    index.search(asked[0], 1)
    memory_each = index.memory_bytes / samples
    disk_each = sum(path.stat().st_size for path in (folder / "index").iterdir()) / samples
    for probe in asked:
        index.search(probe, 1)  # so that what the probes read is in the disk's cache for all
    took, found = [], []
    for probe in asked:
        begun = time.thread_time()
        found.append(int(index.search(probe, 1)[1][0]))
        took.append(time.thread_time() - begun)
    compact = statistics.median(took)
    ten = statistics.median([timed(lambda p=p: index.search(p, 10)) for p in asked])
    many = timed(lambda: [index.search(asked[n % probes], 1) for n in range(MANY)])
    nearest, plain = Plain(folder / "vectors", samples, length, memory).compare(asked)
    recall = float(np.mean(np.array(found) == nearest))
    floor = samples * length * 4 / bandwidth()
    right = float(np.mean(nearest // PER_SUBJECT == np.sort(rng_subjects(samples, probes))))
    cells = [
        f"{samples:,}",
        f"{plain['flat'] / compact:.0f}",
        f"{plain['flat'] / ten:.0f}",
        f"{plain['numpy'] / compact:.0f}",
        f"{plain['flat many'] / many:.1f}",
        f"{plain['flat'] / floor:.2f}",
        f"{recall:.3f}",
        f"{index.proofs.proven / index.proofs.searches:.3f}",
        f"{memory_each / 1024:.2f}",
        f"{disk_each / 1024:.1f}",
        f"{start / plain['flat']:.0f}",
        f"{(adding + training) / plain['flat']:.0f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)
    print(
        f"  FlatL2 {1e3 * plain['flat']:.1f} ms, floor {1e3 * floor:.1f} ms, compact "
        f"{1e3 * compact:.2f} ms, start {start:.1f} s, adding {adding:.0f} s, training "
        f"{training:.0f} s, rank-1 {right:.2f}, {index.state}",
        flush=True,
    )
    index.close()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()


def rng_subjects(samples: int, probes: int) -> NDArray[np.int64]:
    """Say again whose walks the probes are."""
    return np.random.default_rng(3).integers(0, samples // PER_SUBJECT, probes)


def main() -> None:
    """Measure every size asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--probes", type=int, default=40)
    parser.add_argument("--memory-gib", type=float, default=2.5)
    parser.add_argument("--seen", type=Path, help="where the measured embeddings are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    spread = measure(*seen(options.seen or options.folder / "seen.npz"))
    faiss.omp_set_num_threads(1)
    print(
        "| samples | × FlatL2, one probe | × FlatL2, ten nearest | × numpy, one probe "
        "| × FlatL2, 64 probes | FlatL2 / bandwidth floor | recall@1 | proven | KiB a sample "
        "in memory | KiB on disk | a start, in scans | a build, in scans |"
    )
    print("|" + " ---: |" * 12)
    for samples in options.samples:
        memory = int(options.memory_gib * _GIB)
        run(spread, options.folder, samples, options.probes, memory)


if __name__ == "__main__":
    main()
