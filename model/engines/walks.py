"""Converts walks to the two input arrays that every engine feeds to its graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.errors import EncodeError
from model.facts import ModelFacts

CLOSED = "expected an open encoder, got one that was closed"


def padded(
    walks: Sequence[NDArray[np.uint8]], facts: ModelFacts
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Check walks uint8 `[T_i, H, W]`, and pad them into one batch.

    Returns:
        silhouettes uint8 `[N, T, H, W]`, zero beyond each walk's length, and lengths int64 `[N]`.

    Raises:
        EncodeError: there is no walk, or one has a wrong shape, dtype or length.

    """
    if not walks:
        raise EncodeError("expected at least one walk, got none")
    for position, walk in enumerate(walks):
        _check_walk(walk, position, facts)
    lengths = np.array([len(walk) for walk in walks], np.int64)
    batch = np.zeros((len(walks), int(lengths.max()), *facts.size), np.uint8)
    for row, walk in zip(batch, walks, strict=True):
        row[: len(walk)] = walk
    return batch, lengths


def _check_walk(walk: NDArray[np.uint8], position: int, facts: ModelFacts) -> None:
    if walk.dtype != np.uint8 or walk.ndim != 3 or walk.shape[1:] != facts.size:
        height, width = facts.size
        raise EncodeError(
            f"walk {position}: expected uint8 [T, {height}, {width}], "
            f"got {walk.dtype} {list(walk.shape)}"
        )
    if not 1 <= len(walk) <= facts.max_frames:
        raise EncodeError(
            f"walk {position}: expected 1 to {facts.max_frames} frames, got {len(walk)}"
        )
