"""`metagait evaluate`: the CASIA-B table of a model, beside the GEI baseline on the same samples.

    metagait evaluate runs/demo/checkpoint.pt --markdown table.md

Without `--data` the samples are the benchmark walkers: 50 synthetic subjects that no training of
this project uses (see `model.caches.BENCHMARK`).
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.caches import BENCHMARK, walkers_dataset
from model.dataset import Dataset, open_dataset
from model.distances import flat_distances, part_distances
from model.embed import Embedder, embed, gei_embedder, open_embedder
from model.errors import DatasetError
from model.protocols import GALLERY, PROBES, Labels, casia_b
from model.tables import Row, markdown_table, text_table

RUNS = Path("runs")


@dataclass(frozen=True)
class Evaluation:
    """Table rows of one or more methods on one dataset, and what is to be said about them."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def joined(self, other: "Evaluation") -> "Evaluation":
        """Put two evaluations into one table, kind by kind, each note once."""
        order = {kind: place for place, kind in enumerate(PROBES)}
        rows = sorted((*self.rows, *other.rows), key=lambda row: order[row.kind])
        return Evaluation(tuple(rows), tuple(dict.fromkeys((*self.notes, *other.notes))))


def evaluate(dataset: Dataset, embedder: Embedder, *, progress: bool = False) -> Evaluation:
    """Score an embedder by the CASIA-B protocol, with flattened and with per-part distance.

    Raises:
        DatasetError: no sample of the gallery or none of the probes can be read, or the samples
            have another size than the model takes.

    """
    if dataset.size != embedder.size:
        raise DatasetError(
            f"expected silhouettes of {embedder.size} for {embedder.name}, got {dataset.size}"
        )
    embedded = embed(dataset, embedder.encode, progress=progress)
    labels = Labels.of([(s.subject, s.condition, s.view) for s in embedded.samples])
    enrolled = labels.in_conditions(GALLERY)
    searched = labels.in_conditions([c for conditions in PROBES.values() for c in conditions])
    probes, gallery = embedded.embeddings[searched], embedded.embeddings[enrolled]
    # The first is what the gallery searches by; the second what the field's code reports.
    measured = (
        ("flattened L2", flat_distances(probes, gallery)),
        ("mean part L2", part_distances(probes, gallery, embedder.parts)),
    )
    rows = [
        Row(f"{embedder.name}, {name}", kind, result)
        for name, distances in measured
        for kind, result in casia_b(
            distances, labels.where(searched), labels.where(enrolled)
        ).items()
    ]
    return Evaluation(tuple(rows), _notes(dataset, labels, embedded.unreadable, rows))


def _notes(
    dataset: Dataset, labels: Labels, unreadable: tuple[str, ...], rows: list[Row]
) -> tuple[str, ...]:
    subjects, views = np.unique(labels.subjects), np.unique(labels.views)
    scored = labels.in_conditions([*GALLERY, *(c for cs in PROBES.values() for c in cs)])
    notes = [
        f"{len(subjects)} subjects, {len(labels.subjects)} samples, {len(views)} views; "
        f"gallery NM#1-4 one view at a time, identical views excluded.",
        *(f"{line}." for line in dataset.report.lines()),
    ]
    if unreadable:
        notes.append(f"{len(unreadable)} unreadable samples left out: {'; '.join(unreadable[:3])}.")
    if not scored.all():
        notes.append(f"{np.count_nonzero(~scored)} samples in conditions outside the protocol.")
    unmated = {row.kind: row.result.unmated for row in rows if row.result.unmated}
    for kind, searches in unmated.items():
        notes.append(f"{kind}: {searches} searches without a gallery sample left out of the rates.")
    return tuple(notes)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return every figure as plain values; a pair of views without searches is null."""
    return {
        "notes": list(evaluation.notes),
        "rows": [
            {
                "method": row.method,
                "kind": row.kind,
                "rank_one_mean": _figure(row.result.mean),
                "mean_average_precision": _figure(row.result.mean_average_precision),
                "rank_one_identical_view": _figure(row.result.identical_view),
                "views": list(row.result.views),
                "rank_one": _matrix(row.result.rank_one),
                "probes": row.result.probes,
                "unmated": row.result.unmated,
            }
            for row in evaluation.rows
        ],
    }


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait evaluate`."""
    parser.add_argument("model", type=Path, help="ONNX file, or checkpoint of a training")
    parser.add_argument("--data", type=Path, help="packed cache or CASIA-B tree of PNG files")
    parser.add_argument("--subjects", help="ids A:B, both included, in the order of the dataset")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--json", type=Path, help="write all figures here")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the table, and write it where asked."""
    embedder = open_embedder(arguments.model)
    if arguments.data:
        dataset = open_dataset(arguments.data, embedder.size)
    else:
        dataset = walkers_dataset(BENCHMARK, RUNS, "benchmark")
    if arguments.subjects:
        dataset = dataset.of(subject_range(dataset, arguments.subjects))
    evaluation = evaluate(dataset, embedder, progress=True)
    evaluation = evaluation.joined(evaluate(dataset, gei_embedder(dataset.size)))
    notes = "\n".join(evaluation.notes)
    print(f"{text_table(evaluation.rows)}\n\n{notes}")
    if arguments.markdown:
        arguments.markdown.write_text(f"{markdown_table(evaluation.rows)}\n\n{notes}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(evaluation), indent=1))
    return 0


def subject_range(dataset: Dataset, asked: str) -> tuple[str, ...]:
    """Read `A:B` as the subjects from A to B, both included; either end may be left out.

    Raises:
        DatasetError: it is not of that form, or holds none of the dataset's subjects.

    """
    first, colon, last = asked.partition(":")
    chosen = tuple(
        subject
        for subject in dataset.subjects
        if (not first or subject >= first) and (not last or subject <= last)
    )
    if not colon or not chosen:
        raise DatasetError(
            f"expected subjects as A:B between {dataset.subjects[0]} and {dataset.subjects[-1]}, "
            f"got {asked!r}"
        )
    return chosen


def _figure(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 5)


def _matrix(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[_figure(value) for value in row] for row in values]
