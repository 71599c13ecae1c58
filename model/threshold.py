"""Measures a model's decision threshold on validation walkers that it never saw.

The threshold is deliberately cautious. People resemble each other more than walkers do, and a
gallery may have many samples from a stranger's own view. So each walk is searched among everything
that all other people have; it counts as named if any of its cameras names it; and it is not the
measured rate but its upper bound at 95 % confidence that must meet the target.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.caches import VALIDATION, walkers_dataset
from model.dataset import Dataset
from model.distances import flat_distances
from model.embed import BATCH_FRAMES, Embedded, Encode, embed
from model.encoder import Encoder, Threshold
from model.errors import DatasetError

CONFIDENCE = 0.95
BAND = 3
"""Answers are inconclusive up to the threshold for this many times the target."""
_MOST_FPIR = 0.5
_AT_ONCE = 512


def calibrate(
    encode: Encode,
    dataset: Dataset,
    *,
    target_fpir: float = 0.01,
    batch_frames: int = BATCH_FRAMES,
) -> Threshold:
    """Choose the largest threshold whose FPIR, by its upper bound, is at most `target_fpir`.

    Beyond it, answers are inconclusive up to the threshold for `BAND` times the target, as in a
    calibrated gallery.

    A non-mated search compares one sample with all samples of the other subjects. A subject's
    samples in one condition are one walk, seen by several cameras, and count once. Walks of one
    subject count as independent, which makes the bound slightly optimistic. A mated search compares
    one sample with those of its subject in other conditions, at all views. Distances are Euclidean
    between flattened embeddings, as in the gallery.

    Raises:
        DatasetError: there are too few walks for the target, only one subject, or nobody in two
            conditions.

    """
    embedded = embed(dataset, encode, batch_frames=batch_frames)
    labels = embedded.labels
    nearest = [np.concatenate(part) for part in zip(*_nearest(embedded), strict=True)]
    stranger, own = nearest
    walks = np.char.add(np.char.add(labels.subjects, "/"), labels.conditions)
    numbers = np.unique(walks, return_inverse=True)[1]
    by_walk = np.full(numbers.max() + 1, np.inf)
    np.minimum.at(by_walk, numbers, stranger)
    by_walk.sort()
    named = allowed(len(by_walk), target_fpir)
    if not np.isfinite(by_walk[0]) or named is None or named >= len(by_walk):
        raise DatasetError(
            f"expected two subjects or more with at least {_needed(target_fpir)} independent "
            f"non-mated walks for an FPIR of {target_fpir:.1%} (rule of three), got "
            f"{len(by_walk)} of {len(np.unique(labels.subjects))} subjects"
        )
    distance = _short_of(by_walk[named])
    band = allowed(len(by_walk), min(BAND * target_fpir, _MOST_FPIR)) or named
    asked = own[np.isfinite(own)]
    if not len(asked):
        raise DatasetError(
            "expected a subject with walks in two conditions, to measure who is missed, got none"
        )
    return Threshold(
        distance=distance,
        target_fpir=target_fpir,
        fnir=float((asked > distance).mean()),
        gallery_subjects=len(np.unique(labels.subjects)) - 1,
        searches=len(by_walk),
        source=f"validation walkers, each walk against all {len(labels.subjects):,} samples of "
        f"the others; {named} of {len(by_walk)} walks named, so at most {target_fpir:.1%} at "
        f"{CONFIDENCE:.0%} confidence",
        inconclusive_to=_short_of(by_walk[max(named, band)]),
    )


def allowed(walks: int, target: float) -> int | None:
    """Return how many walks may be named while still excluding a rate above `target`.

    None if there are too few walks to exclude it even when none is named. The bound is the
    one-sided binomial (Clopper and Pearson, 1934); the rule of three is its case of zero errors.
    """
    tail, count = 0.0, 0
    while count <= walks:
        tail += math.exp(
            math.lgamma(walks + 1)
            - math.lgamma(count + 1)
            - math.lgamma(walks - count + 1)
            + count * math.log(target)
            + (walks - count) * math.log1p(-target)
        )
        if tail > 1 - CONFIDENCE:
            break
        count += 1
    return count - 1 if count else None


def _short_of(distance: float) -> float:
    """Return a distance just short of the first walk that must no longer be named."""
    return float(np.nextafter(distance, 0))


def calibrate_on_walkers(encoder: Encoder, runs: Path, target_fpir: float = 0.01) -> Threshold:
    """Calibrate on the project's validation walkers, generated under `runs` if missing."""
    dataset = walkers_dataset(VALIDATION, runs, "validation", encoder.facts.size)
    batch = encoder.runtime.batch_frames
    return calibrate(encoder.encode, dataset, target_fpir=target_fpir, batch_frames=batch)


def _nearest(embedded: Embedded) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield, per block, distances to other people and to the own subject in other conditions."""
    labels, embeddings = embedded.labels, embedded.embeddings
    for start in range(0, len(embeddings), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        distances = flat_distances(embeddings[block], embeddings)
        same = labels.subjects[block, None] == labels.subjects[None]
        repeated = same & (labels.conditions[block, None] == labels.conditions[None])
        yield (
            np.where(same, np.inf, distances).min(axis=1),
            np.where(same & ~repeated, distances, np.inf).min(axis=1),
        )


def _needed(target: float) -> int:
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-target))
