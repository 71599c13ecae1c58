"""What a threshold promises: the arithmetic of open-set identification (ISO/IEC 19795-1).

The model package reports a model's FNIR at an FPIR by the same rule, in `model.open_set`. Neither
package may import the other, so a test checks that the two agree.
"""

from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, Context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.errors import CalibrationRefused

_RULE_OF_THREE = 3
LEAST_FPIR = 1e-6
_DRAWS = 1000
_DRAWS_AT_ONCE = 50
_CONFIDENCE = 0.95
_ROUNDING = 1e-9


class Interval(NamedTuple):
    """A 95 % interval; a value beyond either end is equally likely."""

    low: float
    high: float


def searches_needed(fpir: float) -> int:
    """Return how many independent searches, all correct, can show `fpir` (rule of three).

    Raises:
        CalibrationRefused: `fpir` is not between a millionth and 1.

    """
    # No gallery could ever promise less, and the arithmetic would overflow.
    if not LEAST_FPIR <= fpir < 1:
        raise CalibrationRefused(
            f"expected a target FPIR from {LEAST_FPIR:g} to below 1, got {fpir:g}"
        )
    return int(np.ceil(_RULE_OF_THREE / fpir - _ROUNDING))


def rule_of_three(independent: int) -> float:
    """Return the lowest rate that this many independent searches can show."""
    return min(1.0, _RULE_OF_THREE / independent)


def rate_shown(independent: int) -> float:
    """Round the lowest rate that so many searches can show up to two digits, as a target."""
    two_digits = Context(prec=2, rounding=ROUND_CEILING)
    return float(two_digits.create_decimal_from_float(rule_of_three(independent)))


class Ranked:
    """The distances `[n]` of searches in ascending order, for reading off thresholds."""

    def __init__(self, distances: NDArray[np.floating]) -> None:
        self.order = np.argsort(distances, kind="stable")
        self.distances = np.asarray(distances, np.float64)[self.order]
        starts = np.searchsorted(self.distances, self.distances, side="left")
        below = self.distances[np.maximum(starts - 1, 0)]
        # Halfway between two distances, so that rounding elsewhere moves neither across.
        self._thresholds = np.where(
            starts > 0, (below + self.distances) / 2, self.distances * (1 - 1e-4)
        )

    def threshold(self, fpir: float) -> float:
        """Return the largest threshold at which at most `fpir` of the searches are nearer."""
        allowed = int(np.floor(fpir * len(self.distances) + _ROUNDING))
        return float(self._thresholds[min(allowed, len(self.distances) - 1)])

    def thresholds(self, fpir: float, weights: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the same for resampled searches: weights `[draws, n]`, in order of distance."""
        nearer = np.cumsum(weights, axis=1)
        allowed = np.minimum(np.floor(fpir * nearer[:, -1:] + _ROUNDING), nearer[:, -1:] - 1)
        refused = np.argmax(nearer > allowed, axis=1)
        thresholds: NDArray[np.float64] = self._thresholds[refused]
        return thresholds


def bootstrap(
    subjects: NDArray[np.integer], statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> Interval:
    """Resample subjects, with all their searches, to get the interval of a statistic.

    Args:
        subjects: the number of the subject behind each search, `[n]`.
        statistic: returns values `[draws]` for weights `[draws, n]`, the counts of each search.

    """
    generator = np.random.default_rng(7)
    names, numbers = np.unique(subjects, return_inverse=True)
    values = [statistic(drawn[:, numbers]) for drawn in _draws(generator, len(names))]
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(values), (tail, 1 - tail))
    return Interval(float(low), float(high))


def share(wrong: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Return the statistic for `bootstrap` that is the share of wrong searches."""

    def of(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        total = np.maximum(weights.sum(axis=1), 1)
        shares: NDArray[np.float64] = weights @ wrong.astype(np.float64) / total
        return shares

    return of


def _draws(generator: np.random.Generator, subjects: int) -> Iterator[NDArray[np.int64]]:
    even = np.full(subjects, 1 / subjects)
    for _ in range(_DRAWS // _DRAWS_AT_ONCE):
        yield generator.multinomial(subjects, even, size=_DRAWS_AT_ONCE)
