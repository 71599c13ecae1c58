"""Lays out aligned silhouettes in a single picture that a web page can play."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from service.schemas import Picture

COLUMNS = 16


def sprite(silhouettes: NDArray[np.uint8]) -> Picture:
    """Return frames uint8 `[T, H, W]` as a PNG, laid out in rows of `COLUMNS`."""
    frames, height, width = silhouettes.shape
    columns = min(COLUMNS, frames)
    rows = -(-frames // columns)
    cells = np.zeros((rows * columns, height, width), np.uint8)
    cells[:frames] = silhouettes
    sheet = cells.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    _, png = cv2.imencode(".png", np.ascontiguousarray(sheet).reshape(rows * height, -1))
    return Picture(
        frames=frames,
        height=height,
        width=width,
        columns=columns,
        png=base64.b64encode(png.tobytes()).decode("ascii"),
    )
