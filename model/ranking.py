"""What one ranked gallery says about one search. numpy only.

Ties are counted against the model: of two equally near samples the one of another subject ranks
first. The answer is then the same on every machine, and an encoder that maps everybody to one point
scores 0 and not by luck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float32]
Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """How searches went, one value each."""

    rank: Figures
    """Place of the nearest sample of the own subject among all samples, from 1."""
    average_precision: Figures
    """Mean, over the own samples, of the share of own ones among those as near or nearer."""
    inverse_negative_penalty: Figures
    """Number of own samples over the place of the last of them (Ye et al., TPAMI 2021)."""


def rank(distances: Distances, own: NDArray[np.bool_]) -> Ranking:
    """Rank the gallery of each search.

    Args:
        distances: `[n, m]`, smaller is nearer.
        own: which of the gallery's samples are of the search's own subject, `[n, m]`.

    Returns:
        Values `[n]`; where a search has no own sample the rank is infinite and the others are 0:
        found never.

    """
    counts = own.sum(axis=1)
    most = int(counts.max(initial=0))
    if not most:
        nothing = np.zeros(len(own))
        return Ranking(np.full(len(own), np.inf), nothing, nothing)
    right = np.where(own, distances, np.inf)
    nearest = np.sort(np.partition(right, most - 1, axis=1)[:, :most], axis=1)  # n,most
    wrong = np.where(own, np.inf, distances)
    # A column at a time: an own subject has few samples, a gallery many.
    before = np.stack([(wrong <= nearest[:, [k]]).sum(axis=1) for k in range(most)], axis=1)
    place = before + np.arange(1, most + 1)
    there = np.arange(most) < counts[:, None]
    precision = np.where(there, np.arange(1, most + 1) / place, 0.0).sum(axis=1)
    last = np.take_along_axis(place, np.maximum(counts, 1)[:, None] - 1, axis=1)[:, 0]
    return Ranking(
        rank=np.where(counts > 0, place[:, 0], np.inf),
        average_precision=precision / np.maximum(counts, 1),
        inverse_negative_penalty=counts / last,
    )
