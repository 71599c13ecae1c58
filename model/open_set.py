"""Open-set identification following ISO/IEC 19795-1: thresholds, FPIR, FNIR at rank 1, DET.

A mated search is by somebody who is enrolled, a non-mated search by a stranger. At threshold T

- FPIR is the share of non-mated searches that name anybody: the nearest sample is nearer than T;
- FNIR (at rank 1) is the share of mated searches that do not name the right subject first: the
  nearest sample is somebody else's, or is not nearer than T. A tie is a miss.

Uses numpy only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Interval, Resampling, mean_interval, percentile_interval
from model.errors import DatasetError
from model.protocols import CASIA_B, PROBES_AT_ONCE, Embeddings, Labels, Measure, Protocol

Text = NDArray[np.str_]
Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Searches:
    """The distances that searches found, and the subjects who were searched for."""

    mated: Figures
    """Distance of the nearest sample, infinite if it is another subject's, `[n]`."""
    mated_subjects: Text
    nonmated: Figures
    """Distance of the nearest sample, `[m]`."""
    nonmated_subjects: Text
    nonmated_walks: Text
    """The recorded walk behind each, `[m]`: one walk seen by eleven cameras is eleven searches."""
    gallery_subjects: int
    """People in the gallery; the largest, if several were searched."""

    @property
    def strangers(self) -> int:
        """Number of people behind the non-mated searches."""
        return len(np.unique(self.nonmated_subjects))

    @property
    def independent(self) -> int:
        """Number of independent non-mated searches: distinct walks, not cameras."""
        return len(np.unique(self.nonmated_walks))

    def joined(self, other: "Searches") -> "Searches":
        """Combine the searches of two galleries."""
        return Searches(
            np.concatenate([self.mated, other.mated]),
            np.concatenate([self.mated_subjects, other.mated_subjects]),
            np.concatenate([self.nonmated, other.nonmated]),
            np.concatenate([self.nonmated_subjects, other.nonmated_subjects]),
            np.concatenate([self.nonmated_walks, other.nonmated_walks]),
            max(self.gallery_subjects, other.gallery_subjects),
        )


@dataclass(frozen=True)
class OpenSet:
    """A threshold, and its effect on the searches it was chosen on."""

    threshold: float
    """A candidate nearer than this is named."""
    target_fpir: float
    fpir: float
    """Share of non-mated searches that name somebody, at most the target."""
    fnir: float
    """Share of mated searches that do not name the right subject first."""
    mated: int
    nonmated: int


@dataclass(frozen=True)
class Split:
    """One half of the subjects enrolled, and probes of both halves."""

    gallery: Embeddings
    known: Text
    probes: Embeddings
    asked: Text
    walks: Text
    """Subject and condition of each probe."""


def splits(
    embeddings: Embeddings, labels: Labels, protocol: Protocol = CASIA_B, *, samples_each: int = 4
) -> tuple[Split, Split]:
    """Enrol each half of the subjects in turn, so every probe is once mated and once non-mated.

    The halves are every other subject. Each is enrolled with up to `samples_each` samples in the
    protocol's gallery conditions, at views drawn once with a fixed seed. All samples in the probe
    conditions are searched.

    Raises:
        DatasetError: one of the halves has nobody to enrol, or there is nothing to search.

    """
    subjects = np.unique(labels.subjects)
    searched = labels.in_conditions(
        [c for conditions in protocol.probes.values() for c in conditions]
    )
    first, second = (
        _enrolled(labels, subjects[half::2], protocol.gallery, samples_each) for half in (0, 1)
    )
    if not len(first) or not len(second) or not searched.any():
        raise DatasetError(
            f"expected samples of two subjects or more in {', '.join(protocol.gallery)} to enrol "
            f"and others to search, got {len(first) + len(second)} and {searched.sum()}"
        )
    asked = labels.where(searched)
    walks = np.char.add(np.char.add(asked.subjects, "/"), asked.conditions)
    probes = embeddings[searched]
    return (
        Split(embeddings[first], labels.subjects[first], probes, asked.subjects, walks),
        Split(embeddings[second], labels.subjects[second], probes, asked.subjects, walks),
    )


def search(measure: Measure, split: Split) -> Searches:
    """Search every probe of a split, `PROBES_AT_ONCE` at a time to save memory."""
    nearest, hits = [], []
    for block in _blocks(len(split.asked)):
        distances = measure(split.probes[block], split.gallery)
        own = split.asked[block, None] == split.known[None]
        right = np.where(own, distances, np.inf).min(axis=1)
        nearest.append(distances.min(axis=1).astype(np.float64))
        hits.append(right < np.where(own, np.inf, distances).min(axis=1))
    smallest, found = np.concatenate(nearest), np.concatenate(hits)
    mated = np.isin(split.asked, split.known)
    return Searches(
        mated=np.where(found, smallest, np.inf)[mated],
        mated_subjects=split.asked[mated],
        nonmated=smallest[~mated],
        nonmated_subjects=split.asked[~mated],
        nonmated_walks=split.walks[~mated],
        gallery_subjects=len(np.unique(split.known)),
    )


def open_set(searches: Searches, target_fpir: float) -> OpenSet:
    """Choose the largest threshold whose FPIR does not exceed the target.

    Raises:
        DatasetError: there is no mated search, or fewer than 3 / target independent non-mated ones,
            with which not even zero errors would demonstrate the target (rule of three, ISO/IEC
            19795-1).

    """
    reason = why_not(searches, target_fpir)
    if reason:
        raise DatasetError(reason)
    ranked = np.sort(searches.nonmated)
    threshold = _threshold(ranked, np.ones(len(ranked)), target_fpir)
    return OpenSet(
        threshold=threshold,
        target_fpir=target_fpir,
        fpir=float(np.mean(ranked < threshold)),
        fnir=float(np.mean(~(searches.mated < threshold))),
        mated=len(searches.mated),
        nonmated=len(ranked),
    )


def why_not(searches: Searches, target_fpir: float) -> str | None:
    """Return why a target cannot be stated from these searches, or None if it can.

    Raises:
        DatasetError: the target is not between 0 and 1.

    """
    if not 0 < target_fpir < 1:
        raise DatasetError(f"expected a target FPIR between 0 and 1, got {target_fpir}")
    needed = int(np.ceil(3 / target_fpir - 1e-9))
    if len(searches.mated) and searches.independent >= needed:
        return None
    return (
        f"expected at least {needed} independent non-mated searches for an FPIR of "
        f"{100 * target_fpir:g} % (rule of three) and one mated search, got "
        f"{len(searches.nonmated)} searches by {searches.independent} walks of "
        f"{searches.strangers} strangers, and {len(searches.mated)}"
    )


def fnir_interval(searches: Searches, target_fpir: float, *, resamples: int = 2000) -> Interval:
    """Return FNIR at a target FPIR, with its 95 % interval.

    Subjects are drawn, each with both mated and non-mated searches, and each draw chooses its own
    threshold, so the interval accounts for the threshold being an estimate itself.
    """
    everybody = np.concatenate([searches.mated_subjects, searches.nonmated_subjects])
    resampling = Resampling.of(everybody, resamples=resamples)
    order = np.argsort(searches.nonmated)
    ranked = searches.nonmated[order]
    draws = zip(
        resampling.draws(searches.nonmated_subjects[order]),
        resampling.draws(searches.mated_subjects),
        strict=True,
    )
    figures = [
        _weighted_fnir(searches.mated, asked, _threshold(ranked, strangers, target_fpir))
        for strangers, asked in draws
    ]
    return percentile_interval(np.array(figures))


def fpir_interval(searches: Searches, threshold: float) -> Interval:
    """Return FPIR at a fixed threshold, with its 95 % interval over strangers."""
    return mean_interval(searches.nonmated < threshold, searches.nonmated_subjects)


@dataclass(frozen=True)
class Det:
    """Detection error trade-off: FPIR and FNIR at rising thresholds, `[K]` each."""

    thresholds: Figures
    fpir: Figures
    fnir: Figures


def det(searches: Searches, points: int = 400) -> Det:
    """Return the trade-off curve at every occurring distance, or `points` evenly ranked ones."""
    finite = searches.mated[np.isfinite(searches.mated)]
    candidates = np.unique(np.concatenate([searches.nonmated, finite]))
    if len(candidates) > points:
        candidates = candidates[np.linspace(0, len(candidates) - 1, points).round().astype(int)]
    # A candidate is named if nearer than the threshold, so a threshold equal to a distance names
    # exactly the nearer ones.
    thresholds = np.append(candidates, np.nextafter(candidates[-1], np.inf))
    nonmated, mated = np.sort(searches.nonmated), np.sort(searches.mated)
    return Det(
        thresholds,
        np.searchsorted(nonmated, thresholds) / max(1, len(nonmated)),
        1 - np.searchsorted(mated, thresholds) / max(1, len(mated)),
    )


@dataclass(frozen=True)
class GallerySize:
    """The effect of a smaller gallery on the threshold."""

    subjects: int
    threshold: float
    """For the target FPIR in a gallery of this many subjects, averaged over the drawn galleries."""
    fpir: float
    """FPIR in such a gallery at the whole gallery's threshold."""


def by_gallery_size(
    measure: Measure, split: Split, target_fpir: float, *, draws: int = 20, sizes: int = 5
) -> list[GallerySize]:
    """Return thresholds for a target FPIR with part of the subjects enrolled, smallest first.

    Each of `draws` random orders of the subjects gives nested galleries, whose sizes double up to
    the whole. Only non-mated searches are used.
    """
    nearest = _nearest_of_subject(measure, split)
    count = nearest.shape[1]
    wanted = sorted({max(1, round(count / 2**power)) for power in range(sizes)})
    generator = np.random.default_rng(0)
    found = np.stack(
        [
            np.minimum.accumulate(nearest[:, generator.permutation(count)], axis=1)[
                :, [size - 1 for size in wanted]
            ]
            for _ in range(draws)
        ]
    )  # draws,n,sizes
    found.sort(axis=1)
    ones = np.ones(len(nearest))
    whole = _threshold(found[0, :, -1], ones, target_fpir)
    return [
        GallerySize(
            size,
            float(np.mean([_threshold(drawn[:, place], ones, target_fpir) for drawn in found])),
            float(np.mean(found[:, :, place] < whole)),
        )
        for place, size in enumerate(wanted)
    ]


def _nearest_of_subject(measure: Measure, split: Split) -> Figures:
    """Return the distance of each stranger's search to each enrolled subject: `[m, subjects]`."""
    strangers = ~np.isin(split.asked, split.known)
    order = np.argsort(split.known, kind="stable")
    _, starts = np.unique(split.known[order], return_index=True)
    probes, gallery = split.probes[strangers], split.gallery[order]
    return np.concatenate(
        [
            np.minimum.reduceat(measure(probes[block], gallery), starts, axis=1)
            for block in _blocks(len(probes))
        ]
    ).astype(np.float64)


def _threshold(ranked: Figures, weights: Figures, target_fpir: float) -> float:
    """Return the largest threshold whose weighted FPIR over sorted distances meets the target."""
    ranked, weights = ranked[weights > 0], weights[weights > 0]
    if not len(ranked):
        return float("nan")
    named = np.cumsum(weights)
    # If this candidate is refused, exactly the nearer ones are named.
    refused = ranked[np.searchsorted(named, target_fpir * named[-1] + 1e-9, side="right")]
    nearer = ranked[: np.searchsorted(ranked, refused)]
    # Well away from both, so that rounding elsewhere moves neither across it.
    return float((nearer[-1] + refused) / 2 if len(nearer) else refused * (1 - 1e-4))


def _weighted_fnir(mated: Figures, weights: Figures, threshold: float) -> float:
    total = weights.sum()
    if not total or np.isnan(threshold):  # no enrolled subject or no stranger was drawn
        return float("nan")
    return float(weights[~(mated < threshold)].sum() / total)


def _enrolled(
    labels: Labels, subjects: Text, conditions: tuple[str, ...], samples_each: int
) -> NDArray[np.intp]:
    """Return indices of samples to enrol; the draw depends on the names, not on their order."""
    generator = np.random.default_rng(20)
    allowed = labels.in_conditions(conditions)
    places: list[int] = []
    for subject in subjects:
        own = np.flatnonzero(allowed & (labels.subjects == subject))
        own = own[np.lexsort((labels.views[own], labels.conditions[own]))]
        places += own[generator.permutation(len(own))[:samples_each]].tolist()
    return np.array(places, np.intp)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(at, at + PROBES_AT_ONCE) for at in range(0, count, PROBES_AT_ONCE))
