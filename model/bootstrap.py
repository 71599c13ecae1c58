"""Percentile bootstrap by subject: how much a rate would change with other people. numpy only.

Searches by one person are alike, so resampling searches would give too narrow an interval. People
are resampled instead, with replacement and with everything that was measured on them; the ends are
percentiles of the draws (Efron and Tibshirani, 1993, chapter 13). The gallery stays as enrolled.
With fewer than about 20 people such an interval is too narrow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError

RESAMPLES = 2000
CONFIDENCE = 0.95

Values = NDArray[np.floating] | NDArray[np.bool_]
Text = NDArray[np.str_]
Rates = NDArray[np.float64]
Statistic = Callable[[Rates], Rates]
"""Maps rates by group `[..., G]`, NaN for a group without a value, to one figure `[...]`."""


@dataclass(frozen=True)
class Interval:
    """A figure and its interval at the level `confidence`; NaN if nothing was measured."""

    value: float
    low: float
    high: float
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        """Return percents with one decimal, as in a table: `81.2 [78.9, 83.4]`."""
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Resampling:
    """How often each subject was drawn.

    `weights` is float64 `[B, S]`; its first row is all ones, the sample as it is.
    """

    subjects: Text
    """The `S` distinct subjects, sorted."""
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, subjects: Text, *, resamples: int = RESAMPLES, seed: int = 0) -> "Resampling":
        """Draw as many subjects as there are in `subjects` `[n]`, `resamples` times.

        The draws depend only on the seed and the number of distinct subjects, so two models on the
        same people get the same draws.
        """
        names = np.unique(subjects)
        if not len(names):
            raise DatasetError("expected at least one subject to resample, got none")
        generator = np.random.default_rng(seed)
        drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
        return cls(names, np.vstack([np.ones(len(names)), drawn]))

    def draws(self, subjects: Text) -> Iterator[NDArray[np.float64]]:
        """Yield, for the sample and every draw, how often each value's subject was drawn: `[n]`."""
        places = self._places(subjects)
        return (weights[places] for weights in self.weights)

    def rates(
        self,
        values: Values,
        subjects: Text,
        groups: NDArray[np.intp],
        groups_in_all: int | None = None,
    ) -> Rates:
        """Average the values `[n]` in each group, for the sample and every draw: `[B, G]`.

        `groups` `[n]` is each value's group number from 0; there are `groups_in_all` groups, or as
        many as occur. NaN if a draw has nobody of a group.
        """
        count = int(groups.max(initial=-1)) + 1 if groups_in_all is None else groups_in_all
        shape = (len(self.subjects), count)
        sums, counts = np.zeros(shape), np.zeros(shape)
        places = (self._places(subjects), groups)
        np.add.at(sums, places, np.asarray(values, np.float64))
        np.add.at(counts, places, 1.0)
        drawn = self.weights @ counts
        rates: Rates = np.divide(
            self.weights @ sums, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0
        )
        return rates

    def _places(self, subjects: Text) -> NDArray[np.intp]:
        return np.searchsorted(self.subjects, subjects)


def percentile_interval(figures: Rates, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of `figures` `[B]`, the first as measured, the others from the draws.

    Draws in which the figure is undefined (NaN) are left out.
    """
    if not 0 < confidence < 1:
        raise DatasetError(f"expected a confidence between 0 and 1, got {confidence}")
    drawn = figures[1:][~np.isnan(figures[1:])]
    if np.isnan(figures[0]) or not len(drawn):
        return Interval(float(figures[0]), float("nan"), float("nan"), confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(figures[0]), float(low), float(high), confidence)


def mean_interval(
    values: Values,
    subjects: Text,
    *,
    groups: NDArray[np.intp] | None = None,
    statistic: Statistic | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return a mean of per-search values, such as hits, with its interval resampled by subject.

    Args:
        values: one number (or hit) per search, `[n]`.
        subjects: the subject of each search, `[n]`.
        groups: each search's group number from 0, such as its pair of views; None puts all searches
            into one group.
        statistic: maps the groups' means to the figure; None takes their plain mean.
        resamples: number of draws.
        confidence: share of the draws that the interval contains.
        seed: of the draws; the same seed and people give the same interval.

    Raises:
        DatasetError: there is no value, or the lengths differ.

    """
    _check(values, subjects)
    resampling = Resampling.of(subjects, resamples=resamples, seed=seed)
    rates = resampling.rates(values, subjects, _groups(values, groups))
    return percentile_interval((statistic or mean_of_groups)(rates), confidence)


def difference_interval(
    first: Values,
    second: Values,
    subjects: Text,
    *,
    groups: NDArray[np.intp] | None = None,
    statistic: Statistic | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Return `first` minus `second`, two models on the same searches, with a paired interval.

    Arguments as for `mean_interval`; search i of both is the same probe. If the whole interval lies
    above zero, the first model is better on people like these, given the one training that each
    had; it says nothing about other seeds.
    """
    _check(first, subjects)
    _check(second, subjects)
    resampling = Resampling.of(subjects, resamples=resamples, seed=seed)
    figures = [
        (statistic or mean_of_groups)(resampling.rates(values, subjects, _groups(values, groups)))
        for values in (first, second)
    ]
    return percentile_interval(figures[0] - figures[1], confidence)


def mean_of_groups(rates: Rates) -> Rates:
    """Average over the last axis, ignoring NaN; NaN, without a warning, if nothing is left."""
    there = ~np.isnan(rates)
    counts = there.sum(axis=-1)
    sums = np.where(there, rates, 0.0).sum(axis=-1)
    means: Rates = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


def _groups(values: Values, groups: NDArray[np.intp] | None) -> NDArray[np.intp]:
    return np.zeros(len(values), np.intp) if groups is None else groups


def _check(values: Values, subjects: Text) -> None:
    if not len(values) or len(values) != len(subjects):
        raise DatasetError(
            f"expected one value or more and the subject of each, got {len(values)} values and "
            f"{len(subjects)} subjects"
        )
