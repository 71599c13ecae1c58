"""Winograd matrices for short convolutions along time, with as few products as possible."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """How `steps` outputs of a convolution with three taps are computed from `steps + 2` inputs.

    ``outputs = fall (raise_kernel kernel * lift inputs)``, where * is elementwise.
    """

    steps: int
    lift: NDArray[np.float32]
    raise_kernel: NDArray[np.float32]
    fall: NDArray[np.float32]


def _matrix(*rows: Sequence[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


WINOGRAD = Window(
    steps=4,
    lift=_matrix(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    raise_kernel=_matrix(
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    fall=_matrix(
        (1, 1, 1, 1, 1, 0),
        (0, 1, -1, 2, -2, 0),
        (0, 1, 1, 4, 4, 0),
        (0, 1, -1, 8, -8, 1),
    ),
)
