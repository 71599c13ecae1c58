"""Evaluate whether a threshold that depends on the number of enrolled people keeps its promise.

    python benchmarks/threshold.py FOLDER [--model X.onnx] [--runs runs]

The fewer people are enrolled, the larger a threshold may be for the same share of strangers named.
How much larger is measured on the validation walkers: for galleries of N of them, the largest
distance at which no more of their walks are named than the bound of `model.threshold` allows,
averaged over all galleries of that size. Then it is tested with strangers: benchmark walkers, and
the people of CASIA-A, whose FOLDER is as for `benchmarks/casia_a.py`; next to that is what the
file's own threshold names. Sizes end with the data, since nobody is a stranger to themselves.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lgamma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.caches import BENCHMARK, VALIDATION, walkers_dataset
from model.casia_a import walks
from model.dataset import Dataset
from model.distances import flat_distances
from model.embed import embed
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.threshold import allowed

TARGET = 0.01
SIZES = (1, 2, 5, 10, 19, 49, 119)
CONDITIONS = ("nm-05", "bg-01", "cl-01")
VIEWS = ("000", "036", "072", "108", "144", "180")

Distances = NDArray[np.floating]


@dataclass(frozen=True)
class Strangers:
    """Distance of each walk to each other person: `[walks, people]`, infinite to its own."""

    distances: Distances

    @classmethod
    def of(
        cls, embeddings: NDArray[np.float32], subjects: Sequence[str], walks: Sequence[str]
    ) -> "Strangers":
        """Measure every walk, by its nearest camera, against everybody else."""
        people, owners = np.unique(subjects, return_inverse=True)
        walked, numbers = np.unique(walks, return_inverse=True)
        nearest = np.full((len(walked), len(people)), np.inf)
        for person in range(len(people)):
            found = flat_distances(embeddings, embeddings[owners == person]).min(axis=1)
            others = owners != person
            np.minimum.at(nearest[:, person], numbers[others], found[others])
        return cls(nearest)

    @property
    def others(self) -> int:
        """Return the number of people that a walk can be searched among."""
        return self.distances.shape[1] - 1

    def named(self, threshold: float, size: int) -> float:
        """Return the share of walks named, averaged over all galleries of `size` other people."""
        near = (self.distances <= threshold).sum(axis=1)
        far = self.others - near
        nobody = [_ways(int(one), size) - _ways(self.others, size) for one in far]
        return float(1 - np.exp(nobody).mean())

    def threshold(self, size: int, target: float) -> float:
        """Return the largest distance at which no more walks are named than the bound allows."""
        may = allowed(len(self.distances), target)
        distances = np.unique(self.distances[np.isfinite(self.distances)])
        low, high = 0, len(distances) - 1
        while low < high:
            middle = (low + high) // 2
            too_many = self.named(distances[middle], size) * len(self.distances) > (may or 0) + 1e-9
            low, high = (low, middle) if too_many else (middle + 1, high)
        return float(np.nextafter(distances[low], 0))


def _ways(people: int, size: int) -> float:
    """Return the logarithm of the number of galleries of `size` among this many people."""
    if people < size:
        return -np.inf
    return lgamma(people + 1) - lgamma(size + 1) - lgamma(people - size + 1)


def strangers_of(dataset: Dataset, encoder: OnnxEncoder) -> Strangers:
    """Embed a dataset; all cameras of one walk count as one walk."""
    embedded = embed(dataset, encoder.encode)
    labels = embedded.labels
    walked = [f"{s}/{c}" for s, c in zip(labels.subjects, labels.conditions, strict=True)]
    return Strangers.of(embedded.embeddings, labels.subjects.tolist(), walked)


def real_strangers(folder: Path, encoder: OnnxEncoder) -> Strangers:
    """Embed CASIA-A; each recording counts as a walk."""
    embedded = {key: encoder.encode([walk])[0] for key, walk in walks(folder, encoder.facts.size)}
    names = ["/".join(map(str, key)) for key in embedded]
    return Strangers.of(np.stack(list(embedded.values())), [key[0] for key in embedded], names)


def table(learnt: Strangers, judges: Sequence[tuple[str, Strangers]], shipped: float) -> str:
    """Return in Markdown, by gallery size, the threshold and what it and the shipped one name."""
    head = ["enrolled", f"threshold for {TARGET:.0%}"]
    head += [f"{name} named, %" for name, _ in judges]
    head += [f"{name} named at {shipped:.3f}, %" for name, _ in judges]
    lines = ["| " + " | ".join(head) + " |", "|" + " --: |" * len(head)]
    for size in SIZES:
        if size > learnt.others:
            continue
        threshold = learnt.threshold(size, TARGET)
        cells = [str(size), f"{threshold:.3f}"]
        cells += [
            f"{100 * judge.named(limit, size):.1f}" if size <= judge.others else "–"
            for limit in (threshold, shipped)
            for _, judge in judges
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="CASIA-A")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    encoder = OnnxEncoder.open(arguments.model)
    if encoder.facts.threshold is None:
        raise SystemExit(f"expected a model with a threshold, got {encoder.facts.model_id}")
    benchmark = walkers_dataset(BENCHMARK, arguments.runs, "benchmark")
    some = tuple(s for s in benchmark.samples if s.condition in CONDITIONS and s.view in VIEWS)
    judges = [
        ("walkers", strangers_of(replace(benchmark, samples=some), encoder)),
        ("people", real_strangers(arguments.folder, encoder)),
    ]
    learnt = strangers_of(walkers_dataset(VALIDATION, arguments.runs, "validation"), encoder)
    print(table(learnt, judges, encoder.facts.threshold.distance))


if __name__ == "__main__":
    main()
