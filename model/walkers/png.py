"""Writes PNG files or raises an error; OpenCV's own `imwrite` reports success on a full disk."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a grey picture uint8 `[H, W]`.

    Raises:
        OSError: the disk is full, or the file cannot be written.

    """
    _, encoded = cv2.imencode(".png", picture)
    path.write_bytes(encoded.tobytes())
