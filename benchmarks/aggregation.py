"""Compare distances to a subject: to its nearest sample, or the mean to its nearest few.

    python benchmarks/aggregation.py [--subjects 20] [--fpir 0.05] [--runs runs] [--model X.onnx]

Uses benchmark walkers, which no training and no threshold ever saw. Every other subject is enrolled
with nm-01 and nm-02 at three views. The probes are nm-05 and bg-01 at the same views, searched once
with all samples enrolled and once without those of the probe's own view. Then the halves are
swapped, so that everybody is once enrolled and once a stranger. FNIR is at the threshold for FPIR.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery.open_set import Ranked
from gallery.searches import aggregate
from model.caches import BENCHMARK, walkers_dataset
from model.embed import Embedded, embed
from model.encoder import SHIPPED_MODEL, OnnxEncoder

ENROLLED = ("nm-01", "nm-02")
SEARCHED = ("nm-05", "bg-01")
VIEWS = (0, 54, 90)
COUNTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Row:
    """Results for one definition of the distance."""

    rank_1: float
    fnir: float
    searches: int
    strangers: int


def measured(embedded: Embedded, count: int, fpir: float, *, same_view: bool) -> Row:
    """Search both halves against each other with the mean over the `count` nearest samples."""
    own, best, strangers = (
        np.concatenate(part) for part in zip(*_halves(embedded, count, same_view), strict=True)
    )
    threshold = Ranked(strangers).threshold(fpir)
    hits = own < best
    return Row(
        rank_1=float(hits.mean()),
        fnir=float(np.mean(~(hits & (own <= threshold)))),
        searches=len(own),
        strangers=len(strangers),
    )


def _halves(
    embedded: Embedded, count: int, same_view: bool
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Yield, per half, distances to the own subject and the nearest other, and of strangers."""
    labels = embedded.labels
    names = np.unique(labels.subjects)
    enrolled, searched = (np.isin(labels.conditions, some) for some in (ENROLLED, SEARCHED))
    for half in (0, 1):
        known = names[half::2]
        to_known = np.stack(
            [
                _to_subject(
                    embedded, searched, enrolled & (labels.subjects == name), count, same_view
                )
                for name in known
            ],
            axis=1,
        )
        is_own = labels.subjects[searched][:, None] == known[None]
        mated = is_own.any(axis=1)
        own = np.where(is_own, to_known, np.inf).min(axis=1)[mated]
        other = np.where(is_own, np.inf, to_known).min(axis=1)
        yield own, other[mated], other[~mated]


def _to_subject(
    embedded: Embedded,
    searched: NDArray[np.bool_],
    samples: NDArray[np.bool_],
    count: int,
    same_view: bool,
) -> NDArray[np.float64]:
    probes, vectors = embedded.embeddings[searched], embedded.embeddings[samples]
    distances = np.stack([np.linalg.norm(probes - one, axis=1) for one in vectors], axis=1)
    if not same_view:
        views = embedded.labels.views
        distances[views[searched][:, None] == views[samples][None]] = np.inf
    return aggregate(distances.astype(np.float64), count)


def table(embedded: Embedded, fpir: float) -> Sequence[str]:
    """Return the table in Markdown."""
    lines = [
        f"| distance | rank-1, any view | FNIR at FPIR {fpir:.0%} | rank-1, other views | FNIR |",
        "| --- | --: | --: | --: | --: |",
    ]
    for count in COUNTS:
        rows = [measured(embedded, count, fpir, same_view=same) for same in (True, False)]
        name = "nearest" if count == 1 else f"mean of nearest {count}"
        figures = " | ".join(f"{100 * row.rank_1:.1f} | {100 * row.fnir:.1f}" for row in rows)
        lines.append(f"| {name} | {figures} |")
    searches = f"{rows[0].searches} mated and {rows[0].strangers} non-mated searches"
    return [*lines, "", f"{searches} of {len(np.unique(embedded.labels.subjects))} subjects."]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--fpir", type=float, default=0.05)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where walkers are kept")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    given = parser.parse_args()
    conditions = (*ENROLLED, *SEARCHED)
    config = replace(BENCHMARK, subjects=given.subjects, conditions=conditions, views=VIEWS)
    dataset = walkers_dataset(config, given.runs, "aggregation")
    embedded = embed(dataset, OnnxEncoder.open(given.model).encode)
    print("\n".join(table(embedded, given.fpir)))


if __name__ == "__main__":
    main()
