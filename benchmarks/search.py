"""Measure speed, size and accuracy of the compact index against plain FAISS and numpy.

    OPENBLAS_NUM_THREADS=1 python benchmarks/search.py [--samples 10000 100000]

A million samples take 17 GiB of disk under `--folder` (by default a temporary folder, emptied
afterwards) and less than 7 GiB of memory. `--seen` keeps the measured embeddings for the next run.

The embeddings are random, with the distribution of the shipped model's (see `spread.py`). Each
subject has five samples. Half of the probes are other walks of enrolled subjects, half strangers.

All times are processor time of one thread, for all candidates, so that other work on the machine
does not count. FlatL2 and numpy read every number of every sample, so memory bandwidth, measured in
the same run, is their lower limit (floor); for the compact index it is reading the sketches. FlatL2
gets the gallery in blocks of `--memory-gib`, one after the other: its time is the sum over the
blocks of the median over the probes, without reading the blocks from disk. The compact index takes
turns with it, block by block.

With a GPU, the `gpu` kind is measured too, by wall clock; its results, and each index's description
of how it searched, go to standard error.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from spread import Floats, Spread, measure, seen

from gallery.errors import EngineMissing
from gallery.index import VectorIndex
from gallery.indexes.compact import CompactIndex
from gallery.indexes.gpu import GpuIndex, flat_on_gpu
from model.encoder import SHIPPED_MODEL

PER_SUBJECT, BLOCK, MANY, SKETCH_BYTES = 5, 4096, 64, 32
# Allowance for float32 rounding in a squared distance that equals the nearest one.
_SAME = 1e-3
_GIB = 1 << 30
HEAD = (
    "samples",
    "one probe, × FlatL2",
    "ten nearest, × FlatL2",
    "one probe, × numpy",
    "64 probes, × FlatL2",
    "FlatL2, ms (floor)",
    "compact, ms (floor)",
    "recall@1",
    "recall@10",
    "proven right",
    "KiB a sample in memory",
    "KiB on disk",
    "start, s",
    "build, s",
    "cold disk, ms by the clock",
)


def timed(work: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """Return the seconds that the work takes, by default processor time of this thread."""
    start = clock()
    work()
    return clock() - start


def bandwidth() -> float:
    """Return the bytes per second that one thread reads, the best of several dot products."""
    first, second = np.ones(1 << 26, np.float32), np.ones(1 << 26, np.float32)
    return 2 * first.nbytes / min(timed(lambda: np.dot(first, second)) for _ in range(7))


@dataclass
class Built:
    """A compact index on the disk, and the processor seconds for building it."""

    folder: Path
    length: int
    samples: int
    seconds: float

    @property
    def originals(self) -> NDArray[np.float32]:
        """Return all vectors, float32 `[N, L]`, mapped from the index's file."""
        path = self.folder / "originals"
        return np.memmap(path, np.float32, "r", shape=(self.samples, self.length))

    def forget_cached(self) -> None:
        """Drop the vectors from the system's page cache."""
        file = os.open(self.folder / "originals", os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def build(spread: Spread, folder: Path, samples: int) -> Built:
    """Fill a compact index, which trains itself as it grows, and close it."""
    length = len(spread.mean)
    worker = ThreadPoolExecutor(1)
    index = CompactIndex(length, folder, executor=worker)
    index.begin("benchmark")
    seconds = 0.0
    starts = [*range(0, samples - 1, BLOCK), samples - 1]
    for start, end in zip(starts, [*starts[1:], samples], strict=True):
        rows = np.arange(start, end)
        vectors = spread.walks(rows // PER_SUBJECT, 1)
        if end == samples:  # wait for training; the last sample takes over its result
            seconds += worker.submit(time.thread_time).result()
        seconds += timed(lambda r=rows, v=vectors: index.add(r, v, r))
    seconds += timed(index.close)
    return Built(folder, length, samples, seconds)


def probes_of(spread: Spread, samples: int, count: int) -> Floats:
    """Draw probes, half of enrolled subjects and half of strangers, shuffled."""
    rng = np.random.default_rng(3)
    subjects = samples // PER_SUBJECT
    mated = spread.walks(rng.integers(0, subjects, count - count // 2), 2)
    strange = spread.walks(rng.integers(subjects, 2 * subjects, count // 2), 2)
    return np.ascontiguousarray(rng.permutation(np.concatenate([mated, strange])))


@dataclass
class Plain:
    """The times and results of FlatL2 and numpy, block by block."""

    truth: Floats
    """Squared distances of the ten nearest, float32 `[probes, 10]`, nearest first."""
    seconds: dict[str, float] = field(default_factory=dict)

    def take(self, block: Floats, probes: Floats, timings: int) -> None:
        """Search one block with both."""
        flat = faiss.IndexFlatL2(block.shape[1])
        for start in range(0, len(block), BLOCK):
            flat.add(np.ascontiguousarray(block[start : start + BLOCK]))
        vectors = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(-1, flat.d)
        norms = np.einsum("nl,nl->n", vectors, vectors)
        asked, many = probes[:timings], np.resize(probes, (MANY, flat.d))
        self._count("flat", [timed(lambda p=p: flat.search(p[None], 1)) for p in asked])
        self._count("flat ten", [timed(lambda p=p: flat.search(p[None], 10)) for p in asked])
        self._count("flat many", [timed(lambda: flat.search(many, 1))])
        by_numpy = [timed(lambda p=p: (norms - 2 * (vectors @ p)).argmin()) for p in asked]
        self._count("numpy", by_numpy)
        for start in range(0, len(probes), MANY):
            some = probes[start : start + MANY]
            squared = norms - 2 * (some @ vectors.T) + np.einsum("nl,nl->n", some, some)[:, None]
            nearest = np.partition(squared, 9, axis=1)[:, :10]
            every = np.concatenate([self.truth[start : start + MANY], nearest], axis=1)
            self.truth[start : start + MANY] = np.sort(every, axis=1)[:, :10]

    def _count(self, what: str, seconds: list[float]) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + statistics.median(seconds)


def blocks(vectors: Floats, memory: int) -> Iterator[Floats]:
    """Split vectors into blocks of about `memory` bytes."""
    rows = max(BLOCK, memory // vectors[:1].nbytes)
    for start in range(0, len(vectors), rows):
        yield vectors[start : start + rows]


def recall(index: VectorIndex, probes: Floats, truth: Floats) -> tuple[float, float]:
    """Return the shares of the nearest, and of the ten nearest, that an index finds."""
    one, ten = 0, 0
    for probe, squared in zip(probes, truth, strict=True):
        found = index.search(probe, 10)[0]
        ten += int((found <= squared[-1] + _SAME).sum())
        one += int(index.search(probe, 1)[0][0] <= squared[0] + _SAME)
    return one / len(probes), ten / (10 * len(probes))


def row(spread: Spread, folder: Path, samples: int, options: argparse.Namespace) -> list[str]:
    """Measure one gallery size; return the cells of its row."""
    built = build(spread, folder, samples)
    index = CompactIndex(built.length, folder)
    start = timed(lambda: index.begin("benchmark"))
    disk = sum(path.stat().st_size for path in folder.iterdir()) / samples
    probes = probes_of(spread, samples, options.probes)
    asked = probes[: options.timings]
    plain = Plain(np.full((len(probes), 10), np.inf, np.float32))
    took: dict[int, list[float]] = {1: [], 10: []}
    many = []
    for block in blocks(built.originals, int(options.memory_gib * _GIB)):
        plain.take(block, probes, options.timings)
        for k, seconds in took.items():
            for probe in asked:
                index.search(probe, k)  # brings what it reads into the page cache
                seconds.append(timed(lambda p=probe, k=k: index.search(p, k)))
        batch = np.resize(probes, (MANY, built.length))
        many.append(timed(lambda b=batch: [index.search(p, 1) for p in b]))
    right = recall(index, probes, plain.truth)
    built.forget_cached()
    cold = [timed(lambda p=p: index.search(p, 1), time.perf_counter) for p in probes[:50]]
    compact, ten = statistics.median(took[1]), statistics.median(took[10])
    floor = samples / bandwidth()
    memory, proofs, state = index.memory_bytes / samples, index.proofs, index.state
    index.close()
    print(f"{samples:,}: {state}", file=sys.stderr)
    on_gpu(built, probes, plain.truth)
    flat = plain.seconds
    return [
        f"{samples:,}",
        f"{flat['flat'] / compact:.0f}",
        f"{flat['flat ten'] / ten:.0f}",
        f"{flat['numpy'] / compact:.0f}",
        f"{flat['flat many'] / statistics.median(many):.1f}",
        f"{1e3 * flat['flat']:.1f} ({1e3 * floor * 4 * built.length:.1f})",
        f"{1e3 * compact:.2f} ({1e3 * floor * SKETCH_BYTES:.2f})",
        f"{right[0]:.4f}",
        f"{right[1]:.4f}",
        f"{proofs.confirmed:,} of {proofs.proven:,}",
        f"{memory / 1024:.2f}",
        f"{disk / 1024:.1f}",
        f"{start:.1f}",
        f"{built.seconds:.0f}",
        f"{1e3 * statistics.median(cold):.1f}",
    ]


def on_gpu(
    built: Built, probes: Floats, truth: Floats, make: Callable[[int], Any] = flat_on_gpu
) -> None:
    """Print the results of the `gpu` kind, or why it is not available."""
    try:
        index = GpuIndex(built.length, make)
    except EngineMissing as error:
        print(f"gpu: {error}", file=sys.stderr)
        return
    start = time.perf_counter()
    for at in range(0, built.samples, BLOCK):
        vectors = np.array(built.originals[at : at + BLOCK])
        index.add(np.arange(at, at + len(vectors)), vectors)
    filled = time.perf_counter() - start
    index.search(probes[0], 1)
    took = [timed(lambda p=p: index.search(p, 1), time.perf_counter) for p in probes[:MANY]]
    right = recall(index, probes, truth)
    print(
        f"gpu, {built.samples:,}: one probe {1e3 * statistics.median(took):.2f} ms, 64 in turn "
        f"{1e3 * sum(took):.1f} ms, recall@1 {right[0]:.4f}, recall@10 {right[1]:.4f}, "
        f"filled in {filled:.0f} s",
        file=sys.stderr,
    )
    index.close()


def main() -> None:
    """Measure all requested sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--probes", type=int, default=1000, help="for the recall")
    parser.add_argument("--timings", type=int, default=10, help="probes timed in each block")
    parser.add_argument("--memory-gib", type=float, default=2.5, help="of a block")
    parser.add_argument("--folder", type=Path, help="where the samples lie meanwhile")
    parser.add_argument("--seen", type=Path, help="where the measured embeddings are kept")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="whose spread it is")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    spread = measure(*seen(options.seen, options.model))
    print("| " + " | ".join(HEAD) + " |\n|" + " ---: |" * len(HEAD), flush=True)
    for samples in options.samples:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print("| " + " | ".join(row(spread, Path(folder), samples, options)) + " |", flush=True)


if __name__ == "__main__":
    main()
