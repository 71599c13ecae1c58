"""Rank-1 on CASIA Dataset A: 20 real people, three views, four passes each.

    python benchmarks/casia_a.py FOLDER [MODEL ...]

FOLDER holds `<subject>/<view>_<pass>.zip` of PNG silhouettes; a MODEL is an ONNX file or a
checkpoint, the weights that ship when there is none. Same view: gallery passes 1 and 2, probe
passes 3 and 4. Two views: gallery all passes of one, probe all of the other. Above the models
stands the nearest neighbour of gait energy images, which learns nothing. A model has two rows: the
flattened Euclidean distance, as the gallery measures, and the mean over the parts of each part's
own. The last two columns hold the 95 % intervals of the two means, resampled by subject. The data
are licensed for research only and are not part of this repository.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.casia_a import CROSS, EVERY, SAME, VIEWS, Embeddings, figures, walks
from model.distances import flat_distances, part_distances
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.gei import gait_energy_images
from model.protocols import Measure

Walk = NDArray[np.uint8]


@dataclass(frozen=True)
class Method:
    """One way to embed walks, and how its embeddings are cut into parts."""

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
    """Return one line of the table, in percent."""
    same, same_mean = figures(embeddings, SAME, measure)
    cross, cross_mean = figures(embeddings, [((g, EVERY), (p, EVERY)) for g, p in CROSS], measure)
    rates = [*same, same_mean.value, *cross, cross_mean.value]
    intervals = [f"{100 * i.low:.1f} to {100 * i.high:.1f}" for i in (same_mean, cross_mean)]
    # 23 of 80 is 28.75 %, and the product with 100 a hair below it.
    cells = [label, *(f"{round(100 * rate, 6):.1f}" for rate in rates), *intervals]
    return f"| {' | '.join(cells)} |"


def table(folder: Path, methods: Sequence[Method]) -> str:
    """Return the whole table as markdown."""
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


def strangers_named(folder: Path, model: Path) -> str:
    """Say how often the model file's own threshold names a stranger.

    Every walk asks a gallery of all walks of the other people, so each is a stranger's search.
    """
    encoder = OnnxEncoder.open(model)
    threshold = encoder.facts.threshold
    if threshold is None:
        return "the model has no threshold"
    loaded = dict(walks(folder, encoder.facts.size))
    people = np.array([key[0] for key in loaded])
    embedded = np.concatenate([encoder.encode([walk]) for walk in loaded.values()])
    named = 0
    for person, probe in zip(people, embedded, strict=True):
        others = embedded[people != person]
        named += bool(np.linalg.norm(others - probe, axis=1).min() <= threshold.distance)
    return (
        f"threshold {threshold.distance:.3f} (target FPIR {threshold.target_fpir:.0%} on walkers): "
        f"strangers named in {named / len(people):.1%} of {len(people)} searches"
    )


def main(arguments: Sequence[str]) -> None:
    """Print the table of the models, and what a shipped threshold promises real people."""
    if not arguments or not Path(arguments[0]).is_dir():
        raise SystemExit(__doc__)
    models = [Path(argument) for argument in arguments[1:]] or [SHIPPED_MODEL]
    print(table(Path(arguments[0]), [open_method(path) for path in models]))
    for path in models:
        if path.suffix == ".onnx":
            print(strangers_named(Path(arguments[0]), path))


if __name__ == "__main__":
    main(sys.argv[1:])
