"""Decides by distance and threshold: match, no match, or inconclusive with reasons.

The gallery's own calibration gives the threshold while it holds, else the model's default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gallery import Calibration, Candidate, Interval
from model.encoder import Threshold as ModelThreshold
from model.quality import Fault

Answer = Literal["match", "no_match", "inconclusive"]
Reason = Fault | Literal["NO_THRESHOLD", "NEAR_THRESHOLD", "SEVERAL_SUBJECTS"]
Basis = Literal["calibration", "model"]


@dataclass(frozen=True)
class Threshold:
    """The threshold in force, and the measurement behind it."""

    distance: float
    """A candidate at this distance or nearer is a match."""
    inconclusive_to: float
    """Above `distance` and up to here it is inconclusive; the same if there is no such band."""
    basis: Basis
    target_fpir: float
    measured_fpir: Interval | None
    fnir: float | None
    calibrated_at_size: int
    gallery_size: int
    searches: int
    source: str
    valid: bool
    """Whether it was measured with this gallery, and still holds for it."""
    note: str


@dataclass(frozen=True)
class Decision:
    """The answer, and the reasons if it is inconclusive."""

    answer: Answer
    reasons: tuple[Reason, ...] = ()


def in_force(
    calibration: Calibration | None,
    default: ModelThreshold | None,
    *,
    gallery_size: int,
    aggregation: str,
) -> Threshold | None:
    """Return the threshold for a gallery of `gallery_size` subjects; None if there is none.

    Args:
        calibration: that of the live generation, if any.
        default: that in the model file, if any.
        gallery_size: subjects in the gallery now.
        aggregation: how the gallery computes a subject's distance, in words.

    """
    if calibration is not None and calibration.holds_for(gallery_size, aggregation):
        return _calibrated(calibration, gallery_size)
    if default is None:
        return None
    return Threshold(
        distance=default.distance,
        inconclusive_to=default.inconclusive_to or default.distance,
        basis="model",
        target_fpir=default.target_fpir,
        measured_fpir=None,
        fnir=default.fnir,
        calibrated_at_size=default.gallery_subjects,
        gallery_size=gallery_size,
        searches=default.searches,
        source=default.source,
        valid=False,
        note=_why_default(calibration, default, gallery_size, aggregation),
    )


def _calibrated(calibration: Calibration, gallery_size: int) -> Threshold:
    return Threshold(
        distance=calibration.threshold,
        inconclusive_to=calibration.inconclusive_to,
        basis="calibration",
        target_fpir=calibration.target_fpir,
        measured_fpir=calibration.fpir_interval,
        fnir=calibration.fnir,
        calibrated_at_size=calibration.subjects,
        gallery_size=gallery_size,
        searches=calibration.nonmated_searches,
        source=f"this gallery's own samples, {calibration.created_at}",
        valid=True,
        note="measured with this gallery",
    )


def _why_default(
    calibration: Calibration | None, default: ModelThreshold, gallery_size: int, aggregation: str
) -> str:
    if calibration is None:
        outgrown = gallery_size > default.gallery_subjects
        beyond = f", nor with more than {default.gallery_subjects} subjects" if outgrown else ""
        return (
            f"the model's default, never measured with this gallery{beyond}: run `metagait "
            "calibrate`"
        )
    if calibration.aggregation != aggregation:
        return (
            f"the model's default: the gallery was calibrated for `{calibration.aggregation}` and "
            f"compares by `{aggregation}` now: run `metagait calibrate` again"
        )
    return (
        f"the model's default: the gallery was calibrated at {calibration.subjects} subjects and "
        f"has {gallery_size} now: run `metagait calibrate` again"
    )


def decide(
    candidates: Sequence[Candidate],
    threshold: Threshold | None,
    *,
    faults: Sequence[Fault] = (),
) -> Decision:
    """Decide about the nearest candidate.

    Args:
        candidates: nearest first; without any, the answer is `no_match`.
        threshold: the one in force; None if there is none.
        faults: what is wrong with the walk; with any, its distances prove too little either way.

    """
    if not candidates:
        return Decision("no_match")
    reasons: list[Reason] = list(faults)
    if threshold is None:
        reasons.append("NO_THRESHOLD")
    elif threshold.distance < candidates[0].distance <= threshold.inconclusive_to:
        reasons.append("NEAR_THRESHOLD")
    elif _fits_several(candidates, threshold):
        reasons.append("SEVERAL_SUBJECTS")
    if threshold is None or reasons:
        return Decision("inconclusive", tuple(reasons))
    return Decision("match" if candidates[0].distance <= threshold.distance else "no_match")


def _fits_several(candidates: Sequence[Candidate], threshold: Threshold) -> bool:
    """Tell whether the second subject would also match, and is hardly farther than the first.

    "Hardly" is by at most the measured inconclusive band: what leaves a distance open leaves a
    difference open as well.
    """
    if len(candidates) < 2:
        return False
    nearest, following = (one.distance for one in candidates[:2])
    left_open = threshold.inconclusive_to - threshold.distance
    return following <= min(threshold.distance, nearest + left_open)
