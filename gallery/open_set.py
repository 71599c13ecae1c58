"""What a threshold promises: the arithmetic of open-set identification (ISO/IEC 19795-1).

The model room reports a model's FNIR at an FPIR by the same rule, in `model.open_set`. Neither room
may import the other, so a test holds the two together.
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
    """A 95 % interval; its ends are as likely to be passed."""

    low: float
    high: float


def searches_needed(fpir: float) -> int:
    """Count the independent searches that can show `fpir`: with none of them wrong (rule of three).

    Raises:
        CalibrationRefused: `fpir` is not between a millionth and 1.

    """
    # With less no gallery could ever promise it, and the arithmetic overflows.
    if not LEAST_FPIR <= fpir < 1:
        raise CalibrationRefused(
            f"expected a target FPIR from {LEAST_FPIR:g} to below 1, got {fpir:g}"
        )
    return int(np.ceil(_RULE_OF_THREE / fpir - _ROUNDING))


def rule_of_three(independent: int) -> float:
    """The lowest rate that so many independent searches can show."""
    return min(1.0, _RULE_OF_THREE / independent)


def rate_shown(independent: int) -> float:
    """Round the lowest rate that so many searches can show up to two digits, to be asked for."""
    two_digits = Context(prec=2, rounding=ROUND_CEILING)
    return float(two_digits.create_decimal_from_float(rule_of_three(independent)))


class Ranked:
    """Distances `[n]` of searches in order, to read thresholds off."""

    def __init__(self, distances: NDArray[np.floating]) -> None:
        self.order = np.argsort(distances, kind="stable")
        self.distances = np.asarray(distances, np.float64)[self.order]
        starts = np.searchsorted(self.distances, self.distances, side="left")
        below = self.distances[np.maximum(starts - 1, 0)]
        # Half way between two distances, so that rounding elsewhere moves neither across.
        self._thresholds = np.where(
            starts > 0, (below + self.distances) / 2, self.distances * (1 - 1e-4)
        )

    def threshold(self, fpir: float) -> float:
        """The largest distance at which at most `fpir` of the searches are nearer."""
        allowed = int(np.floor(fpir * len(self.distances) + _ROUNDING))
        return float(self._thresholds[min(allowed, len(self.distances) - 1)])

    def thresholds(self, fpir: float, weights: NDArray[np.integer]) -> NDArray[np.float64]:
        """The same for draws of searches: weights `[draws, n]`, in the order of the distances."""
        nearer = np.cumsum(weights, axis=1)
        allowed = np.minimum(np.floor(fpir * nearer[:, -1:] + _ROUNDING), nearer[:, -1:] - 1)
        refused = np.argmax(nearer > allowed, axis=1)
        thresholds: NDArray[np.float64] = self._thresholds[refused]
        return thresholds


def bootstrap(
    subjects: NDArray[np.integer], statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> Interval:
    """Draw subjects anew, with all their searches, and see how much a figure varies.

    Args:
        subjects: whose walk each search is, a number, `[n]`.
        statistic: figures `[draws]` for weights `[draws, n]`, how often each search was drawn.

    """
    generator = np.random.default_rng(7)
    names, numbers = np.unique(subjects, return_inverse=True)
    values = [statistic(drawn[:, numbers]) for drawn in _draws(generator, len(names))]
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(values), (tail, 1 - tail))
    return Interval(float(low), float(high))


def share(wrong: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """The statistic for `bootstrap` that tells which share of the drawn searches is wrong."""

    def of(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        total = np.maximum(weights.sum(axis=1), 1)
        shares: NDArray[np.float64] = weights @ wrong.astype(np.float64) / total
        return shares

    return of


def _draws(generator: np.random.Generator, subjects: int) -> Iterator[NDArray[np.int64]]:
    even = np.full(subjects, 1 / subjects)
    for _ in range(_DRAWS // _DRAWS_AT_ONCE):
        yield generator.multinomial(subjects, even, size=_DRAWS_AT_ONCE)
