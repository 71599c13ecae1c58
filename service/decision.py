"""Distance and threshold -> match, no match, or inconclusive with reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gallery import Candidate
from model.encoder import Threshold

Answer = Literal["match", "no_match", "inconclusive"]
Reason = Literal["TOO_FEW_FRAMES", "NO_THRESHOLD"]


@dataclass(frozen=True)
class Decision:
    """The answer, and why it is inconclusive when it is."""

    answer: Answer
    reasons: tuple[Reason, ...] = ()


def decide(
    candidates: Sequence[Candidate],
    threshold: Threshold | None,
    *,
    frames: int,
    conclusive_frames: int,
) -> Decision:
    """Decide about the nearest candidate.

    Args:
        candidates: nearest first; with none there is nobody to match.
        threshold: a distance at or below it is a match; None when the model carries none.
        frames: usable frames of the walk.
        conclusive_frames: with fewer, a distance says too little either way.

    """
    if not candidates:
        return Decision("no_match")
    reasons: list[Reason] = []
    if frames < conclusive_frames:
        reasons.append("TOO_FEW_FRAMES")
    if threshold is None:
        reasons.append("NO_THRESHOLD")
    if threshold is None or reasons:
        return Decision("inconclusive", tuple(reasons))
    return Decision("match" if candidates[0].distance <= threshold.distance else "no_match")
