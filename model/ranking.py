"""Scores one ranked gallery per search: rank, average precision, mINP. Uses numpy only.

Ties count against the model: of two equally near samples, the other subject's ranks first. The
result is then the same on every machine, and an encoder that maps everybody to one point scores 0,
not a matter of luck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float32]
Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """The results of searches, one value each."""

    rank: Figures
    """Place of the nearest own sample, the subject's own, among all samples, from 1."""
    average_precision: Figures
    """Mean, over the own samples, of the share of own ones among those as near or nearer."""
    inverse_negative_penalty: Figures
    """Number of own samples divided by the place of the last one (Ye et al., TPAMI 2021)."""


def rank(distances: Distances, own: NDArray[np.bool_]) -> Ranking:
    """Rank the gallery for each search.

    Args:
        distances: `[n, m]`, smaller is nearer.
        own: which gallery samples are of the search's own subject, `[n, m]`.

    Returns:
        Values `[n]`. For a search without an own sample the rank is infinite and the others are 0,
        as if it were never found.

    """
    counts = own.sum(axis=1)
    most = int(counts.max(initial=0))
    if not most:
        nothing = np.zeros(len(own))
        return Ranking(np.full(len(own), np.inf), nothing, nothing)
    right = np.where(own, distances, np.inf)
    nearest = np.sort(np.partition(right, most - 1, axis=1)[:, :most], axis=1)  # n,most
    wrong = np.where(own, np.inf, distances)
    # One column at a time, as a subject has few samples of its own but a gallery many.
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
