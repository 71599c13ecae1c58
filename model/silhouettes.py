"""Frames of one walking body -> an aligned walk, the same for training, evaluation and service.

Each frame is cropped to the rows of the body, resized to the wanted height with its aspect kept,
centred on the column where the cumulative mass passes one half, and cut to the wanted width: the
alignment of GaitSet (Chao et al., AAAI 2019), which MetaGait's 64×44 and 128×88 inputs assume.

`PREPROCESSING_ID` names exactly this function. It is written into every model file, and an encoder
refuses a model that was trained behind another one. Change what `align` returns, change the id.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import SilhouetteError

PREPROCESSING_ID = "gaitset-align-1"
SIZES: tuple[tuple[int, int], ...] = ((64, 44), (128, 88))

EMPTY = "empty"
"""Frame dropped: no body, or too few pixels to be one."""

# A body of fewer pixels than this, or lower than this many rows, cannot be told from a speck.
_MIN_PIXELS = 40
_MIN_ROWS = 12
# GaitSet cuts the 64-row picture to 44 columns; the same share holds at 128 rows.
_MASK_THRESHOLD = 127


@dataclass(frozen=True)
class FrameReport:
    """How many frames came in, how many were used, and why the others were dropped."""

    received: int
    used: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Walk:
    """An aligned walk: `silhouettes` uint8 `[T, H, W]` (0 background, 255 body) and its report."""

    silhouettes: NDArray[np.uint8]
    report: FrameReport


def align(frames: Iterable[NDArray[Any]], size: tuple[int, int] = (64, 44)) -> Walk:
    """Align the frames of one walk to `size` (height, width).

    Args:
        frames: 2-D pictures of any size, uint8 or bool. A frame whose largest value is 1 is read
            as a 0/1 mask, so is a bool frame; anything else as grey 0..255.
        size: one of `SIZES`.

    Returns:
        The walk with every frame in which there is a body, in order.

    Raises:
        SilhouetteError: a frame is not a 2-D uint8 or bool picture, or no frame holds a body.

    """
    if size not in SIZES:
        raise SilhouetteError(f"expected a size of {SIZES}, got {size}")
    aligned: list[NDArray[np.uint8]] = []
    dropped: Counter[str] = Counter()
    received = 0
    for frame in frames:
        silhouette = align_frame(_as_grey(frame, received), size)
        received += 1
        if silhouette is None:
            dropped[EMPTY] += 1
        else:
            aligned.append(silhouette)
    if not aligned:
        raise SilhouetteError(
            f"expected at least one frame with a body, got {received} frames of which none has one"
        )
    return Walk(np.stack(aligned), FrameReport(received, len(aligned), dict(dropped)))


def align_frame(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Align one grey frame uint8 `[h, w]` to `size`, or return None when it shows no body."""
    body = _crop_to_body(grey)
    if body is None:
        return None
    height, width = size
    scaled_width = max(1, round(body.shape[1] * height / body.shape[0]))
    # INTER_AREA averages when it shrinks, so thin limbs fade instead of vanishing.
    shrinks = body.shape[0] > height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(body, (scaled_width, height), interpolation=interpolation)
    mass = np.cumsum(scaled.sum(axis=0, dtype=np.int64))
    centre = int(np.searchsorted(mass, mass[-1] / 2, side="right"))
    padded = np.zeros((height, scaled_width + width), np.uint8)
    padded[:, width // 2 : width // 2 + scaled_width] = scaled
    return np.ascontiguousarray(padded[:, centre : centre + width])


def _as_grey(frame: NDArray[Any], position: int) -> NDArray[np.uint8]:
    if frame.ndim != 2 or frame.dtype not in (np.uint8, np.bool_) or 0 in frame.shape:
        raise SilhouetteError(
            f"frame {position}: expected a uint8 or bool picture [height, width], "
            f"got {frame.dtype} {list(frame.shape)}"
        )
    grey = np.ascontiguousarray(frame.view(np.uint8))
    return grey * np.uint8(255) if grey.max() == 1 else grey


def _crop_to_body(grey: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Cut the frame to its body's rows and columns; None when there is too little of one."""
    mask = grey > _MASK_THRESHOLD
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) < _MIN_ROWS or np.count_nonzero(mask) < _MIN_PIXELS:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
