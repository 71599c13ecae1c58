"""Measures the accuracy that an arithmetic costs: rank-1 on walkers, against a reference."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.caches import BENCHMARK, walkers_dataset
from model.config import WalkersConfig
from model.dataset import Dataset
from model.embed import Embedder
from model.evaluation import evaluate

Encode = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
_CONDITIONS = ("nm-01", "nm-02", "nm-03", "nm-04", "nm-05", "bg-01", "cl-01")
_VIEWS = (0, 36, 72, 108, 144, 180)


def points_lost(right: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the reference's rank-1 minus the other's, in points, for the worst kind of probe.

    Negative if every kind improved.
    """
    return max(100 * (right[kind] - other[kind]) for kind in right)


def one_search(subjects: int) -> float:
    """Return the points of rank-1 per search of BG or CL, which are walked once each."""
    return 100 / (subjects * len(_VIEWS) * (len(_VIEWS) - 1))


@cache
def rank_one(encode: Encode, subjects: int) -> dict[str, float]:
    """Return the rank-1 of NM, BG and CL between different views, by the flattened distance.

    Uses the first `subjects` of the benchmark walkers; results are cached per encoder.
    """
    rows = evaluate(walkers(subjects), Embedder("model", 1, encode)).rows
    flattened = rows[0].measure
    return {
        row.kind: row.result.mean
        for row in rows
        if row.measure == flattened and not row.unmated_fail
    }


def walkers(subjects: int) -> Dataset:
    """Open the walkers, generating them first if they are new."""
    config = WalkersConfig(
        first=BENCHMARK.first, subjects=subjects, conditions=_CONDITIONS, views=_VIEWS
    )
    return walkers_dataset(config, Path("runs"), "encode")
