"""The field's protocols over finished distances: CASIA-B closed set, and open set. numpy only.

CASIA-B (Yu et al., ICPR 2006, as GaitSet reports it): the gallery holds NM#1-4 of one view at a
time, the probes are NM#5-6, BG#1-2 and CL#1-2; rank-1 for every pair of views, the identical view
left out, mean over gallery views and then over probe views.

Everything is counted against the model: where a wrong subject is exactly as near as the right one,
the search has failed, so an encoder that maps everything to one point scores 0 and not by luck.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError

GALLERY = ("nm-01", "nm-02", "nm-03", "nm-04")
PROBES: Mapping[str, tuple[str, ...]] = {
    "NM": ("nm-05", "nm-06"),
    "BG": ("bg-01", "bg-02"),
    "CL": ("cl-01", "cl-02"),
}

Distances = NDArray[np.float32]
Text = NDArray[np.str_]


@dataclass(frozen=True)
class Labels:
    """Subject, condition and view of N samples, each text `[N]`."""

    subjects: Text
    conditions: Text
    views: Text

    @classmethod
    def of(cls, samples: Sequence[tuple[str, str, str]]) -> "Labels":
        """Take (subject, condition, view) of each sample."""
        columns = zip(*samples, strict=True) if samples else ((), (), ())
        return cls(*(np.array(column, np.str_) for column in columns))

    def in_conditions(self, conditions: Sequence[str]) -> NDArray[np.bool_]:
        """Which samples were recorded in one of these conditions: bool `[N]`."""
        return np.isin(self.conditions, np.array(conditions, np.str_))

    def where(self, kept: NDArray[np.bool_]) -> "Labels":
        """Keep some of the samples."""
        return Labels(self.subjects[kept], self.conditions[kept], self.views[kept])


@dataclass(frozen=True)
class CrossView:
    """Closed-set results for one kind of probe, matrices `[probe views, gallery views]`.

    NaN stands where a pair of views has no probe, or no probe whose subject is in the gallery.
    """

    views: tuple[str, ...]
    rank_one: NDArray[np.float64]
    """Share of mated probes whose nearest sample is of their own subject."""
    average_precision: NDArray[np.float64]
    """Mean average precision of mated probes over the whole ranked gallery of the view."""
    probes: int
    unmated: int
    """Searches, over all pairs of views, whose subject has no sample in the gallery view.

    They are left out of the rates; counting them as failures would lower each of their cells.
    """

    def per_probe_view(self) -> NDArray[np.float64]:
        """Rank-1 by probe view, mean over the other gallery views: `[probe views]`."""
        return _mean_rows(_without_identical(self.rank_one))

    @property
    def mean(self) -> float:
        """Rank-1, mean over gallery views and then over probe views."""
        return _mean(self.per_probe_view())

    @property
    def mean_average_precision(self) -> float:
        """The same mean of the average precision."""
        return _mean(_mean_rows(_without_identical(self.average_precision)))

    @property
    def identical_view(self) -> float:
        """Rank-1 where probe and gallery share the view, which the protocol leaves out."""
        return _mean(np.diagonal(self.rank_one))


def casia_b(distances: Distances, probes: Labels, gallery: Labels) -> dict[str, CrossView]:
    """Score distances `[probes, gallery]` by the CASIA-B protocol.

    Samples in conditions that the protocol gives to neither side are left out. Views are those
    found in the data: a missing one has no row and no column.

    Returns:
        Results for "NM", "BG" and "CL", as far as there are such probes.

    Raises:
        DatasetError: there is no gallery sample, or no probe.

    """
    enrolled = gallery.in_conditions(GALLERY)
    if not enrolled.any():
        raise DatasetError(f"expected gallery samples in {GALLERY}, got none")
    results = {}
    for kind, conditions in PROBES.items():
        searched = probes.in_conditions(conditions)
        if searched.any():
            part = distances[np.ix_(searched, enrolled)]
            results[kind] = cross_view(part, probes.where(searched), gallery.where(enrolled))
    if not results:
        raise DatasetError(f"expected probes in {tuple(PROBES.values())}, got none")
    return results


def cross_view(distances: Distances, probes: Labels, gallery: Labels) -> CrossView:
    """Search every probe in the gallery of each view: distances `[probes, gallery]`."""
    views = tuple(str(view) for view in np.union1d(probes.views, gallery.views))
    rank_one = np.full((len(views), len(views)), np.nan)
    precision = rank_one.copy()
    unmated = 0
    for column, gallery_view in enumerate(views):
        enrolled = gallery.views == gallery_view
        if not enrolled.any():
            continue
        own = probes.subjects[:, None] == gallery.subjects[None, enrolled]
        near = distances[:, enrolled]
        for row, probe_view in enumerate(views):
            here = probes.views == probe_view
            mated = here & own.any(axis=1)
            unmated += int(np.count_nonzero(here & ~mated))
            if mated.any():
                rank_one[row, column] = _hits(near[mated], own[mated]).mean()
                precision[row, column] = average_precision(near[mated], own[mated]).mean()
    return CrossView(views, rank_one, precision, len(probes.views), unmated)


def average_precision(distances: Distances, own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each ranking: distances and `own` `[n, m]` to `[n]`.

    Each row must have a sample of its own subject. Equally near samples are ranked wrong ones
    first.
    """
    order = np.lexsort((own, distances), axis=-1)
    ranked = np.take_along_axis(own, order, axis=-1)
    found = np.cumsum(ranked, axis=-1)
    precision = found / np.arange(1, own.shape[1] + 1)
    total: NDArray[np.float64] = (precision * ranked).sum(axis=-1) / found[:, -1]
    return total


def _hits(distances: Distances, own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the own subject is nearer than every other one: bool `[n]`."""
    right = np.where(own, distances, np.inf).min(axis=1)
    wrong = np.where(own, np.inf, distances).min(axis=1)
    hits: NDArray[np.bool_] = right < wrong
    return hits


@dataclass(frozen=True)
class OpenSet:
    """A threshold and what it does to the searches it was chosen on (ISO/IEC 19795-1)."""

    threshold: float
    """A candidate nearer than this is named."""
    target_fpir: float
    fpir: float
    """Share of non-mated searches that name somebody, at most the target."""
    fnir: float
    """Share of mated searches that do not name the right subject first."""
    mated: int
    nonmated: int


def open_set(
    mated: NDArray[np.floating], nonmated: NDArray[np.floating], target_fpir: float
) -> OpenSet:
    """Choose the largest threshold whose FPIR does not exceed the target.

    Args:
        mated: smallest distance of each search whose subject is enrolled, `[n]`; infinite where
            the nearest subject was another one, so that it counts as a miss at any threshold.
        nonmated: smallest distance of each search of a stranger, `[m]`.
        target_fpir: between 0 and 1.

    Raises:
        DatasetError: fewer than 3 / target non-mated searches, with which not even a count of
            zero would show the target (rule of three, ISO/IEC 19795-1), or no mated search.

    """
    if not 0 < target_fpir < 1:
        raise DatasetError(f"expected a target FPIR between 0 and 1, got {target_fpir}")
    needed = int(np.ceil(3 / target_fpir - 1e-9))
    if len(nonmated) < needed or not len(mated):
        raise DatasetError(
            f"expected at least {needed} non-mated searches for an FPIR of {target_fpir:g} and "
            f"one mated search, got {len(nonmated)} and {len(mated)}"
        )
    ranked = np.sort(np.asarray(nonmated, np.float64))
    # With the candidate of rank `allowed` (from 0) refused, exactly the nearer ones are named.
    refused = ranked[int(np.floor(target_fpir * len(ranked) + 1e-9))]
    nearer = ranked[ranked < refused]
    # Well away from both, so that rounding elsewhere moves neither across it.
    threshold = float((nearer[-1] + refused) / 2 if len(nearer) else refused * (1 - 1e-4))
    return OpenSet(
        threshold=threshold,
        target_fpir=target_fpir,
        fpir=float(np.mean(ranked < threshold)),
        fnir=float(np.mean(~(np.asarray(mated) < threshold))),
        mated=len(mated),
        nonmated=len(ranked),
    )


def nearest(
    distances: Distances, probes: Text, gallery: Text
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sort searches for `open_set`: distances `[n, m]`, subjects `[n]` and `[m]`.

    Returns:
        The mated distances, infinite where another subject is nearer, and the non-mated ones.

    """
    own = probes[:, None] == gallery[None]
    smallest = distances.min(axis=1).astype(np.float64)
    mated = own.any(axis=1)
    hits = _hits(distances[mated], own[mated])
    return np.where(hits, smallest[mated], np.inf), smallest[~mated]


def _without_identical(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.eye(len(matrix), dtype=np.bool_), np.nan, matrix)


def _mean_rows(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([_mean(row) for row in matrix])


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of what is there; NaN, without a warning, when nothing is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
