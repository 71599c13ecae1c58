"""Measure rank-1 on CASIA Dataset A: 20 real people, three views, four passes each.

    python benchmarks/casia_a.py FOLDER [MODEL ...]

FOLDER holds `<subject>/<view>_<pass>.zip` with PNG silhouettes. A MODEL is an ONNX file or a
checkpoint; the default is the shipped weights. Same view: passes 1 and 2 are the gallery, 3 and 4
the probes. Two views: all passes of one view are the gallery, all of the other the probes. The
first row is the nearest neighbour of gait energy images, which learns nothing. Each model has two
rows: the flattened Euclidean distance, as used by the gallery, and the mean of the distances part
by part. The last two columns are the 95 % intervals of the two means, resampled by subject. A
second table shows how a model file's own thresholds answer known people and strangers. The data are
licensed for research only and are not part of this repository.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.casia_a import CROSS, EVERY, SAME, VIEWS, Embeddings, Side, figures, walks
from model.distances import flat_distances, part_distances
from model.encoder import SHIPPED_MODEL, OnnxEncoder, Threshold
from model.gei import gait_energy_images
from model.protocols import Measure

Walk = NDArray[np.uint8]


@dataclass(frozen=True)
class Method:
    """One way to embed walks, and the number of parts in its embeddings."""

    name: str
    parts: int
    size: tuple[int, int]
    encode: Callable[[Sequence[Walk]], NDArray[np.float32]]


def open_method(path: Path) -> Method:
    """Open an ONNX file with ONNX Runtime, anything else as a checkpoint with torch."""
    if path.suffix == ".onnx":
        encoder = OnnxEncoder.open(path)
        facts = encoder.facts
        return Method(facts.model_id, facts.parts, facts.size, encoder.encode)
    from model.embed import open_embedder

    embedder = open_embedder(path)
    return Method(embedder.name, embedder.parts, embedder.size, embedder.encode)


def row(label: str, embeddings: Embeddings, measure: Measure = flat_distances) -> str:
    """Return one row of the table, in percent."""
    same, same_mean = figures(embeddings, SAME, measure)
    cross, cross_mean = figures(embeddings, [((g, EVERY), (p, EVERY)) for g, p in CROSS], measure)
    rates = [*same, same_mean.value, *cross, cross_mean.value]
    intervals = [f"{100 * i.low:.1f} to {100 * i.high:.1f}" for i in (same_mean, cross_mean)]
    # 23 of 80 is 28.75 %, but multiplied by 100 it comes out slightly lower.
    cells = [label, *(f"{round(100 * rate, 6):.1f}" for rate in rates), *intervals]
    return f"| {' | '.join(cells)} |"


def table(folder: Path, methods: Sequence[Method]) -> str:
    """Return the whole table in Markdown."""
    loaded = cache(lambda size: dict(walks(folder, size)))
    head = ["", *VIEWS, "mean", *(f"{g}→{p}" for g, p in CROSS), "mean", "same, 95 %", "two, 95 %"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    energy = {key: gait_energy_images([walk])[0] for key, walk in loaded((64, 44)).items()}
    lines.append(row("GEI nearest neighbour", energy))
    for method in methods:
        embedded = {key: method.encode([walk])[0] for key, walk in loaded(method.size).items()}
        lines.append(row(method.name, embedded))
        by_part = partial(part_distances, parts=method.parts)
        lines.append(row(f"{method.name}, mean part L2", embedded, by_part))
    return "\n".join(lines)


def outcomes(embeddings: Embeddings, threshold: Threshold) -> str:
    """Return in Markdown how a threshold answers known people and strangers, in percent."""
    every_view = Answered.between(_walked(embeddings, 1, 2), _walked(embeddings, 3, 4))
    same = [seen(embeddings, embeddings, *sides) for sides in SAME]
    cross = [seen(embeddings, embeddings, (g, EVERY), (p, EVERY)) for g, p in CROSS]
    people = sorted({key[0] for key in embeddings})
    strangers = [
        Answered.between(
            {key: one for key, one in embeddings.items() if key[0] != person},
            {key: one for key, one in embeddings.items() if key[0] == person},
        )
        for person in people
    ]
    lines = [
        "| who asks | searches | match | inconclusive, right first | inconclusive, wrong first "
        "| no match | named wrongly |",
        "|" + " --- |" * 7,
        every_view.line("known, enrolled at all three views", threshold),
        Answered.joined(same).line("known, enrolled at the probe's view only", threshold),
        Answered.joined(cross).line("known, enrolled at one other view only", threshold),
        Answered.joined(strangers).line(
            f"strangers, {len(people) - 1} others enrolled at all views", threshold
        ),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Answered:
    """The nearest subject of each search: its distance, and whether it is the right one."""

    distances: NDArray[np.floating]
    following: NDArray[np.floating]
    """Distance of the second-nearest subject."""
    right: NDArray[np.bool_]

    @classmethod
    def between(cls, gallery: Embeddings, probes: Embeddings) -> "Answered":
        """Search for probes in a gallery."""
        known, asked = (np.stack(list(side.values())) for side in (gallery, probes))
        distances = flat_distances(asked, known)
        subjects = np.array([key[0] for key in gallery])
        owners = subjects[distances.argmin(axis=1)]
        of_others = np.where(subjects == owners[:, np.newaxis], np.inf, distances)
        right = owners == np.array([key[0] for key in probes])
        return cls(distances.min(axis=1), of_others.min(axis=1), right)

    @classmethod
    def joined(cls, parts: Sequence["Answered"]) -> "Answered":
        """Combine the searches of several galleries."""
        return cls(
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.following for part in parts]),
            np.concatenate([part.right for part in parts]),
        )

    def matches(self, threshold: Threshold) -> NDArray[np.bool_]:
        """Tell which are answered `match`; if two subjects are about equally near, none is."""
        as_near = self.distances + (_until(threshold) - threshold.distance)
        several = self.following <= np.minimum(threshold.distance, as_near)
        matches: NDArray[np.bool_] = (self.distances <= threshold.distance) & ~several
        return matches

    def line(self, label: str, threshold: Threshold) -> str:
        """Return one row of the table, in percent of the searches."""
        match = self.matches(threshold)
        none = self.distances > _until(threshold)
        near = ~match & ~none
        shares = (match & self.right, near & self.right, near & ~self.right, none)
        cells = [label, str(len(self.right)), *(f"{100 * share.mean():.1f}" for share in shares)]
        return f"| {' | '.join([*cells, f'{100 * (match & ~self.right).mean():.1f}'])} |"


def _until(threshold: Threshold) -> float:
    return threshold.inconclusive_to or threshold.distance


def seen(gallery: Embeddings, probes: Embeddings, known: Side, asked: Side) -> Answered:
    """Search for one view's probes, of certain passes, in the gallery of another view."""
    sides = [
        _walked({key: one for key, one in embeddings.items() if key[1] == view}, *passes)
        for embeddings, (view, passes) in ((gallery, known), (probes, asked))
    ]
    return Answered.between(*sides)


def _walked(embeddings: Embeddings, *numbers: int) -> Embeddings:
    return {key: one for key, one in embeddings.items() if key[2] in numbers}


def answers(folder: Path, model: Path) -> str:
    """State a model file's thresholds, and how they answer real people."""
    encoder = OnnxEncoder.open(model)
    threshold = encoder.facts.threshold
    if threshold is None:
        return f"{encoder.facts.model_id} has no threshold"
    loaded = walks(folder, encoder.facts.size)
    embedded = {key: encoder.encode([walk])[0] for key, walk in loaded}
    return (
        f"{encoder.facts.model_id}: match up to {threshold.distance:.3f} (target FPIR "
        f"{threshold.target_fpir:.0%} on walkers), inconclusive up to "
        f"{_until(threshold):.3f}\n\n{outcomes(embedded, threshold)}"
    )


def main(arguments: Sequence[str]) -> None:
    """Print the table of the models, and how their own thresholds answer real people."""
    if not arguments or not Path(arguments[0]).is_dir():
        raise SystemExit(__doc__)
    models = [Path(argument) for argument in arguments[1:]] or [SHIPPED_MODEL]
    print(table(Path(arguments[0]), [open_method(path) for path in models]))
    for path in models:
        if path.suffix == ".onnx":
            print(f"\n{answers(Path(arguments[0]), path)}")


if __name__ == "__main__":
    main(sys.argv[1:])
