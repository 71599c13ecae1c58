"""Gait energy image (Han and Bhanu, TPAMI 2006): the baseline that learns nothing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def gait_energy_image(walk: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average an aligned walk uint8 `[T, H, W]` to float32 `[H*W]`, from 0 to 1."""
    mean: NDArray[np.float32] = walk.mean(axis=0, dtype=np.float32) / np.float32(255)
    return mean.reshape(-1)


def gait_energy_images(walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Average each walk to float32 `[N, H*W]`, which serves as an embedding like any other."""
    return np.stack([gait_energy_image(walk) for walk in walks])
