"""Closed-set results between views; every search is kept, so that each figure has an interval.

Figures are averaged as is usual in the field: over the searches of a pair of views, then over the
gallery views except the identical one, then over the probe views (Yu et al., ICPR 2006; GaitSet).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Interval, Resampling, mean_of_groups, percentile_interval
from model.errors import DatasetError

Metric = Literal["rank-1", "rank-5", "rank-10", "mAP", "mINP"]
METRICS: tuple[Metric, ...] = ("rank-1", "rank-5", "rank-10", "mAP", "mINP")
_RANKS: Mapping[str, int] = {"rank-1": 1, "rank-5": 5, "rank-10": 10}

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CrossView:
    """Searches of one kind of probe in the gallery of every view.

    The three arrays are `[n probes, V views]`. They are NaN where the gallery has nothing at all of
    a view; the rank is infinite where it has nothing of the probe's own subject (an unmated
    search). Unmated searches are left out of figures, or count as failures if `unmated_fail` is
    set.
    """

    views: tuple[str, ...]
    subjects: NDArray[np.str_]
    """The subject of each probe."""
    probe_views: NDArray[np.intp]
    """Index in `views` of each probe's view."""
    rank: Matrix
    average_precision: Matrix
    inverse_negative_penalty: Matrix

    @property
    def probes(self) -> int:
        """Number of probes."""
        return len(self.subjects)

    @property
    def unmated(self) -> int:
        """Searches, over all pairs of views, without a gallery sample of their own subject."""
        return int(np.isinf(self.rank).sum())

    @property
    def mean(self) -> float:
        """Rank-1 without identical views and without unmated searches."""
        return self.figure("rank-1")

    @property
    def identical_view(self) -> float:
        """Rank-1 where probe and gallery have the same view, which the protocol leaves out."""
        return float(mean_of_groups(np.diagonal(self.matrix("rank-1"))))

    def values(self, metric: Metric, *, unmated_fail: bool = False) -> Matrix:
        """Return each search's contribution to a metric: `[n, V]`, NaN where it does not count."""
        if metric in _RANKS:
            found: Matrix = np.where(self.rank <= _RANKS[metric], 1.0, 0.0)
        else:
            found = self.average_precision if metric == "mAP" else self.inverse_negative_penalty
        counts = ~np.isnan(self.rank) if unmated_fail else np.isfinite(self.rank)
        values: Matrix = np.where(counts, found, np.nan)
        return values

    def matrix(self, metric: Metric, *, unmated_fail: bool = False) -> Matrix:
        """Return the mean per pair of views, `[probe views, gallery views]`; NaN if none counts."""
        matrix: Matrix = self._drawn(metric, unmated_fail, self._unresampled())[0]
        return matrix

    def per_probe_view(self, metric: Metric = "rank-1", *, unmated_fail: bool = False) -> Matrix:
        """Return the mean over the other gallery views, per probe view: `[V]`."""
        return mean_of_groups(_without_identical(self.matrix(metric, unmated_fail=unmated_fail)))

    def figure(self, metric: Metric, *, unmated_fail: bool = False) -> float:
        """Return the mean over the other gallery views and then over the probe views."""
        return float(mean_of_groups(self.per_probe_view(metric, unmated_fail=unmated_fail)))

    def interval(
        self, metric: Metric, *, unmated_fail: bool = False, resamples: int = 2000
    ) -> Interval:
        """Return the figure with its 95 % interval, resampled by subject."""
        drawn = self.draws(metric, unmated_fail=unmated_fail, resamples=resamples)
        return percentile_interval(drawn)

    def cumulative(self, most: int) -> Matrix:
        """Return the cumulative match characteristic: the figure at rank 1 to `most`, `[most]`."""
        counts = np.isfinite(self.rank)
        curve = []
        for place in range(1, most + 1):
            hits = np.where(counts, np.where(self.rank <= place, 1.0, 0.0), np.nan)
            curve.append(_figure(self._by_pair(hits, self._unresampled()))[0])
        return np.array(curve)

    def difference(
        self, other: "CrossView", metric: Metric = "rank-1", *, resamples: int = 2000
    ) -> Interval:
        """Return this figure minus another model's on the same probes, resampled together.

        Raises:
            DatasetError: the other result has other probes or views.

        """
        same = self.views == other.views and self.subjects.tolist() == other.subjects.tolist()
        if not same or self.probe_views.tolist() != other.probe_views.tolist():
            raise DatasetError(
                f"expected results on the same probes, got {self.probes} at {len(self.views)} "
                f"views and {other.probes} others at {len(other.views)} views"
            )
        figures = [result.draws(metric, resamples=resamples) for result in (self, other)]
        return percentile_interval(figures[0] - figures[1])

    def draws(self, metric: Metric, *, unmated_fail: bool = False, resamples: int = 2000) -> Matrix:
        """Return the figure as measured, then for every draw of subjects: `[1 + resamples]`.

        The draws depend only on the subjects, so those of two models on the same probes are paired.
        """
        resampling = Resampling.of(self.subjects, resamples=resamples)
        return _figure(self._drawn(metric, unmated_fail, resampling))

    def _drawn(self, metric: Metric, unmated_fail: bool, resampling: Resampling) -> Matrix:
        return self._by_pair(self.values(metric, unmated_fail=unmated_fail), resampling)

    def _by_pair(self, values: Matrix, resampling: Resampling) -> Matrix:
        """Average per pair of views in every draw: `[n, V]` to `[B, V, V]`."""
        views = len(self.views)
        counts = ~np.isnan(values)
        probe, column = np.nonzero(counts)
        rates = resampling.rates(
            values[counts],
            self.subjects[probe],
            self.probe_views[probe] * views + column,
            groups_in_all=views * views,
        )
        return rates.reshape(-1, views, views)

    def _unresampled(self) -> Resampling:
        return Resampling.of(self.subjects, resamples=0)


def _figure(matrices: Matrix) -> Matrix:
    """Average over the other gallery views, then over probe views: `[..., V, V]` to `[...]`."""
    return mean_of_groups(mean_of_groups(_without_identical(matrices)))


def _without_identical(matrices: Matrix) -> Matrix:
    identical = np.eye(matrices.shape[-1], dtype=np.bool_)
    without: Matrix = np.where(identical, np.nan, matrices)
    return without
