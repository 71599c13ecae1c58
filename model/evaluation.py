"""Scores an embedder on a dataset by a closed-set protocol and, optionally, in the open set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.bootstrap import Interval
from model.dataset import Dataset
from model.distances import flat_distances, part_distances
from model.embed import Embedded, Embedder, embed
from model.errors import DatasetError
from model.open_set_report import OpenSetReport, open_set_report
from model.protocols import CASIA_B, Measure, Protocol, closed_set
from model.summary import summaries
from model.tables import Row, interval_values, row_values, rows_of


@dataclass(frozen=True)
class Difference:
    """Rank-1 of one model minus that of another, on the same probes."""

    first: str
    second: str
    measure: str
    kind: str
    rank_one: Interval

    def __str__(self) -> str:
        """Return the difference as a sentence."""
        return (
            f"{self.kind}, {self.measure}: {self.first} minus {self.second}, rank-1 "
            f"{self.rank_one} (same probes, resampled together)."
        )


@dataclass(frozen=True)
class Evaluation:
    """Table rows of one or more methods on a dataset, with notes about them."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    open_set: tuple[OpenSetReport, ...] = ()
    differences: tuple[Difference, ...] = field(default=())

    def joined(self, other: "Evaluation") -> "Evaluation":
        """Merge two evaluations into one table, grouped by kind, without repeating notes."""
        kinds = list(dict.fromkeys(row.kind for row in (*self.rows, *other.rows)))
        rows = sorted((*self.rows, *other.rows), key=lambda row: kinds.index(row.kind))
        return Evaluation(
            rows=tuple(rows),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
            open_set=(*self.open_set, *other.open_set),
            differences=(*self.differences, *other.differences),
        )

    def minus(self, other: "Evaluation") -> "Evaluation":
        """Add by how much this evaluation's rank-1 exceeds another's on the same probes."""
        pairs = [
            (mine, theirs)
            for mine in self.rows
            for theirs in other.rows
            if (mine.measure, mine.kind) == (theirs.measure, theirs.kind)
            and not (mine.unmated_fail or theirs.unmated_fail)
            and not np.isnan(mine.result.mean)  # no search was between different views
        ]
        found = [
            Difference(
                mine.method,
                theirs.method,
                mine.measure,
                mine.kind,
                mine.result.difference(theirs.result),
            )
            for mine, theirs in pairs
        ]
        return Evaluation(self.rows, self.notes, self.open_set, (*self.differences, *found))

    def values(self) -> dict[str, Any]:
        """Return all figures as plain values; None for what could not be measured."""
        return {
            "notes": list(self.notes),
            "rows": [row_values(row) for row in self.rows],
            "differences": [
                {
                    "first": difference.first,
                    "second": difference.second,
                    "measure": difference.measure,
                    "kind": difference.kind,
                    "rank-1": interval_values(difference.rank_one),
                }
                for difference in self.differences
            ],
            "all_probes": [summary.values() for summary in summaries(self.rows)],
            "open_set": [report.values() for report in self.open_set],
        }


def evaluate(
    dataset: Dataset,
    embedder: Embedder,
    protocol: Protocol = CASIA_B,
    *,
    open_set: bool = False,
    samples_each: int = 4,
    progress: bool = False,
) -> Evaluation:
    """Score an embedder by a protocol, with both flattened and per-part distance.

    The open set, if requested, enrols up to `samples_each` samples per subject, and is searched by
    flattened distance only, as the gallery does.

    Raises:
        DatasetError: no gallery sample or no probe can be read, or the samples are not of the size
            that the model takes.

    """
    check_size(dataset, embedder)
    batch = embedder.batch_frames
    embedded = embed(dataset, embedder.encode, batch_frames=batch, progress=progress)
    rows = closed_set_rows(embedded, embedder, protocol)
    reports: tuple[OpenSetReport, ...] = ()
    if open_set:
        reports = (
            open_set_report(
                embedder.name,
                embedded.embeddings,
                embedded.labels,
                protocol,
                samples_each=samples_each,
            ),
        )
    return Evaluation(tuple(rows), _notes(dataset, embedded, protocol, rows), reports)


def check_size(dataset: Dataset, embedder: Embedder) -> None:
    """Raise DatasetError if the silhouettes are not of the size that the model takes."""
    if dataset.size != embedder.size:
        raise DatasetError(
            f"expected silhouettes of {embedder.size} for {embedder.name}, got {dataset.size}"
        )


def closed_set_rows(embedded: Embedded, embedder: Embedder, protocol: Protocol) -> list[Row]:
    """Score embedded samples by both distances."""
    # The first is the one the gallery uses; the second is the one that published code reports.
    measures: tuple[tuple[str, Measure], ...] = (
        ("flattened L2", flat_distances),
        ("mean part L2", lambda a, b: part_distances(a, b, embedder.parts)),
    )
    return [
        row
        for name, measure in measures
        for kind, result in closed_set(
            measure, embedded.embeddings, embedded.labels, protocol
        ).items()
        for row in rows_of(embedder.name, name, kind, result)
    ]


def _notes(
    dataset: Dataset, embedded: Embedded, protocol: Protocol, rows: Sequence[Row]
) -> tuple[str, ...]:
    labels = embedded.labels
    subjects, views = np.unique(labels.subjects), np.unique(labels.views)
    notes = [
        f"{len(subjects)} subjects, {len(labels.subjects)} samples, {len(views)} views.",
        f"{protocol.sentence} Intervals hold 95 %, resampled by subject.",
        *(f"{line}." for line in dataset.report.lines()),
    ]
    if embedded.unreadable:
        notes.append(
            f"{len(embedded.unreadable)} unreadable samples left out: "
            f"{'; '.join(embedded.unreadable[:3])}."
        )
    if all(np.isnan(row.result.mean) for row in rows):
        notes.append("No search is between different views; the last column has those of one view.")
    outside = np.count_nonzero(~labels.in_conditions(protocol.conditions))
    if outside:
        notes.append(f"{outside} samples in conditions outside the protocol.")
    unmated = {row.kind: row.result.unmated for row in rows if row.result.unmated}
    notes += [
        f"{kind}: {searches} searches have no sample of their subject in the gallery view; "
        f"stated without them, and with them as failures."
        for kind, searches in unmated.items()
    ]
    return tuple(notes)
