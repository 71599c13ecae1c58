"""Open-set results of one model, as `metagait evaluate --open-set` prints them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.bootstrap import Interval
from model.distances import flat_distances
from model.open_set import (
    Det,
    GallerySize,
    OpenSet,
    Searches,
    by_gallery_size,
    det,
    fnir_interval,
    fpir_interval,
    open_set,
    search,
    splits,
    why_not,
)
from model.protocols import CASIA_B, Embeddings, Labels, Protocol
from model.tables import interval_values, markdown

TARGETS = (0.01, 0.001)
"""FPIRs that are reported if there are enough searches."""


@dataclass(frozen=True)
class Point:
    """One target FPIR: what was measured, or why it is not reported."""

    target_fpir: float
    measured: OpenSet | None
    fnir: Interval | None
    fpir: Interval | None
    refusal: str | None


@dataclass(frozen=True)
class OpenSetReport:
    """Open-set results of one model on one dataset, by flattened L2 as in the gallery."""

    method: str
    searches: Searches
    points: tuple[Point, ...]
    sizes: tuple[GallerySize, ...]
    """At the first target, with only some of the subjects enrolled."""
    samples_each: int

    @property
    def curve(self) -> Det:
        """Detection error trade-off."""
        return det(self.searches)

    def markdown(self) -> str:
        """Return sentences and two tables."""
        blocks = [
            f"Open set, {self.method}, flattened L2: {self._sentence()}",
            markdown([_POINT_HEAD, *(_point_line(point) for point in self.points)]),
            *(f"{point.refusal}." for point in self.points if point.refusal),
        ]
        if self.sizes:
            target = f"{100 * self.points[0].target_fpir:g} %"
            head = [
                "enrolled subjects",
                f"threshold at FPIR {target}",
                "FPIR at the last threshold",
            ]
            lines = [
                [str(size.subjects), f"{size.threshold:.3f}", f"{100 * size.fpir:.2f} %"]
                for size in self.sizes
            ]
            blocks.append(markdown([head, *lines], names=0))
        return "\n\n".join(blocks)

    def values(self) -> dict[str, Any]:
        """Return all figures and the DET curve as plain values."""
        curve = self.curve
        return {
            "method": self.method,
            "mated": len(self.searches.mated),
            "nonmated": len(self.searches.nonmated),
            "strangers": self.searches.strangers,
            "independent_nonmated": self.searches.independent,
            "gallery_subjects": self.searches.gallery_subjects,
            "samples_each": self.samples_each,
            "points": [_point_values(point) for point in self.points],
            "by_gallery_size": [asdict(size) for size in self.sizes],
            "det": {
                "threshold": np.round(curve.thresholds, 6).tolist(),
                "fpir": np.round(curve.fpir, 6).tolist(),
                "fnir": np.round(curve.fnir, 6).tolist(),
            },
        }

    def _sentence(self) -> str:
        searches = self.searches
        return (
            f"half of the subjects ({searches.gallery_subjects}) enrolled with up to "
            f"{self.samples_each} samples each at drawn views, then the other half; "
            f"{len(searches.mated)} mated searches, and {len(searches.nonmated)} non-mated ones of "
            f"{searches.strangers} people, {searches.independent} walks seen by one camera or more."
        )


def open_set_report(
    method: str,
    embeddings: Embeddings,
    labels: Labels,
    protocol: Protocol = CASIA_B,
    *,
    samples_each: int = 4,
) -> OpenSetReport:
    """Search both halves of the subjects, each enrolled in turn, and measure.

    Raises:
        DatasetError: one of the halves has nobody to enrol, or there is nothing to search.

    """
    halves = splits(embeddings, labels, protocol, samples_each=samples_each)
    first, second = (search(flat_distances, half) for half in halves)
    searches = first.joined(second)
    points = tuple(_point(searches, target) for target in TARGETS)
    sizes: tuple[GallerySize, ...] = ()
    if not points[0].refusal:
        sizes = tuple(by_gallery_size(flat_distances, halves[0], TARGETS[0]))
    return OpenSetReport(method, searches, points, sizes, samples_each)


def _point(searches: Searches, target: float) -> Point:
    refusal = why_not(searches, target)
    if refusal:
        return Point(target, None, None, None, refusal)
    measured = open_set(searches, target)
    return Point(
        target,
        measured,
        fnir_interval(searches, target),
        fpir_interval(searches, measured.threshold),
        None,
    )


_POINT_HEAD = ["target FPIR", "threshold", "FNIR at rank 1, % (95 %)", "FPIR, % (95 %)"]


def _point_line(point: Point) -> list[str]:
    target = f"{100 * point.target_fpir:g} %"
    if point.measured is None:
        return [target, "not stated", "not stated", "not stated"]
    return [target, f"{point.measured.threshold:.3f}", str(point.fnir), str(point.fpir)]


def _point_values(point: Point) -> dict[str, Any]:
    return {
        "target_fpir": point.target_fpir,
        "threshold": point.measured.threshold if point.measured else None,
        "fnir": interval_values(point.fnir) if point.fnir else None,
        "fpir": interval_values(point.fpir) if point.fpir else None,
        "not_stated_because": point.refusal,
    }
