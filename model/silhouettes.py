"""Frames of one walking body -> an aligned walk, the same for training, evaluation and service.

Each frame is cropped to the rows of the body, resized to the wanted height with its aspect kept,
centred on the column where the cumulative mass passes one half, and cut to the wanted width: the
alignment of GaitSet (Chao et al., AAAI 2019), which MetaGait's 64×44 and 128×88 inputs assume.

Then one step that is ours: a walk that crosses the picture from left to right is mirrored, so that
every walk goes to the left. The same person seen once from the left and once from the right side of
the path is then half as hard to recognise (docs/experiments.md). Walks that stay where they are in
the picture, towards the camera or cut out beforehand, are left as they are.

`PREPROCESSING_ID` names exactly this function. It is written into every model file, and an encoder
refuses a model that was trained behind another one. Change what `align` returns, change the id.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import SilhouetteError

PREPROCESSING_ID = "metagait-align-2"
SIZES: tuple[tuple[int, int], ...] = ((64, 44), (128, 88))

EMPTY = "empty"
"""Frame dropped: no body, or too few pixels to be one."""
INCOMPLETE = "incomplete"
"""Frame dropped: its body is much lower or higher than in the frames around it."""

# A body of fewer pixels than this, or lower than this many rows, cannot be told from a speck.
_MIN_PIXELS = 40
_MIN_ROWS = 12
# GaitSet cuts the 64-row picture to 44 columns; the same share holds at 128 rows.
_MASK_THRESHOLD = 127
# A piece of the picture belongs to the body when it has this share of the largest piece's pixels
# and lies near it: at the side within this share of the body's height, above or below within that.
_SMALLEST_PART = 0.02
_REACH_ASIDE, _REACH_ALONG = 0.1, 0.3
# A frame whose body is this much lower or higher than the median of so many frames around it shows
# a part of a body, or more than one.
_LOWEST, _HIGHEST, _NEIGHBOURS = 0.85, 1.2, 15
# A walk is mirrored when it travels this many body heights to the right, this steadily. A stride is
# about 0.8 heights; the sway of a walk towards the camera is a tenth of that, and not steady.
_TRAVEL = 0.2
_STEADINESS = 0.8


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
    scaled: list[NDArray[np.uint8]] = []
    places: list[tuple[float, float]] = []
    dropped: Counter[str] = Counter()
    received = 0
    for frame in frames:
        body = _find_body(*_checked(frame, received))
        received += 1
        if body is None:
            dropped[EMPTY] += 1
        else:
            scaled.append(_scaled(body.pixels, size[0]))
            places.append((body.left + body.pixels.shape[1] / 2, body.pixels.shape[0]))
    if not scaled:
        raise SilhouetteError(
            f"expected at least one frame with a body, got {received} frames of which none has one"
        )
    bodies = np.array(places)
    whole = _whole(bodies[:, 1])
    dropped[INCOMPLETE] += len(whole) - int(whole.sum())
    used = [picture for picture, is_whole in zip(scaled, whole, strict=True) if is_whole]
    if _goes_right(bodies[whole]):
        used = [picture[:, ::-1] for picture in used]
    silhouettes = np.stack([_centred(picture, size[1]) for picture in used])
    return Walk(silhouettes, FrameReport(received, len(silhouettes), dict(+dropped)))


def align_frame(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Align one grey frame uint8 `[h, w]` to `size`, or return None when it shows no body."""
    body = _find_body(grey)
    return None if body is None else _centred(_scaled(body.pixels, size[0]), size[1])


def _scaled(body: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = max(1, round(body.shape[1] * height / body.shape[0]))
    # INTER_AREA averages when it shrinks, so thin limbs fade instead of vanishing.
    shrinks = body.shape[0] > height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(body, (width, height), interpolation=interpolation), np.uint8)


def _centred(scaled: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Cut `[H, w]` to `width` columns around the one at which half of the mass is passed."""
    mass = np.cumsum(cv2.reduce(scaled, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S))
    centre = int(np.searchsorted(mass, mass[-1] / 2, side="right"))
    padded = np.zeros((scaled.shape[0], scaled.shape[1] + width), np.uint8)
    padded[:, width // 2 : width // 2 + scaled.shape[1]] = scaled
    return np.ascontiguousarray(padded[:, centre : centre + width])


def _checked(frame: NDArray[Any], position: int) -> tuple[NDArray[np.uint8], bool]:
    """Return a frame as uint8, and whether it is a mask of 0 and 1 rather than grey."""
    if frame.ndim != 2 or frame.dtype not in (np.uint8, np.bool_) or 0 in frame.shape:
        raise SilhouetteError(
            f"frame {position}: expected a uint8 or bool picture [height, width], "
            f"got {frame.dtype} {list(frame.shape)}"
        )
    pixels = np.ascontiguousarray(frame.view(np.uint8))
    return pixels, bool(pixels.max() == 1)


@dataclass(frozen=True)
class _Body:
    """The pixels within a body's bounding box, and the column at which that box begins."""

    pixels: NDArray[np.uint8]
    left: int


def _find_body(frame: NDArray[np.uint8], is_mask: bool = False) -> _Body | None:
    """Cut the frame to its body's rows and columns, in grey; None when there is too little of one.

    A mask of 0 and 1 becomes grey when it is cut, which is much less to touch than the frame.
    """
    # OpenCV finds the box in a tenth of the time that numpy takes to look through rows and columns.
    mask = frame if is_mask else cv2.threshold(frame, _MASK_THRESHOLD, 1, cv2.THRESH_BINARY)[1]
    left, above, width, height = cv2.boundingRect(mask)
    within = slice(above, above + height), slice(left, left + width)
    pieces = np.asarray(mask[within], np.uint8)
    if height < _MIN_ROWS or np.count_nonzero(pieces.any(axis=1)) < _MIN_ROWS:
        return None
    if cv2.countNonZero(pieces) < _MIN_PIXELS:
        return None
    grey = frame[within] * np.uint8(255) if is_mask else frame[within]
    # Nearly always there is one piece; to count is five times cheaper than to measure as well.
    if cv2.connectedComponents(pieces, connectivity=8)[0] == 2:
        return _Body(grey, left)
    count, labels, found, _ = cv2.connectedComponentsWithStats(pieces, connectivity=8)
    boxes = np.asarray(found, np.int32)
    kept = _parts_of_body(boxes)
    if boxes[kept, cv2.CC_STAT_AREA].sum() < _MIN_PIXELS:
        return None
    x, y, right, bottom = _joint_box(boxes[kept])
    if bottom - y < _MIN_ROWS:
        return None
    # What belongs to no piece, the grey fringe of an outline, stays; other pieces go.
    wanted = np.ones(count, bool)
    wanted[1:] = False
    wanted[kept] = True
    pixels = np.where(wanted[labels], grey, np.uint8(0))
    return _Body(pixels[y:bottom, x:right], left + x)


def _parts_of_body(boxes: NDArray[np.int32]) -> list[int]:
    """Choose the connected pieces that are one body: the largest, and what lies close enough to it.

    A head or a foot that a segmenter cut off belongs to the body; specks elsewhere in the picture
    do not, and one of them would be enough to spoil the crop.
    """
    areas = boxes[:, cv2.CC_STAT_AREA]
    order = [int(piece) for piece in np.argsort(-areas) if piece != 0]
    kept, waiting = order[:1], order[1:]
    waiting = [piece for piece in waiting if areas[piece] >= _SMALLEST_PART * areas[kept[0]]]
    grown = True
    while grown and waiting:
        left, top, right, bottom = _joint_box(boxes[kept])
        aside, along = _REACH_ASIDE * (bottom - top), _REACH_ALONG * (bottom - top)
        reached = (left - aside, top - along, right + aside, bottom + along)
        near = [piece for piece in waiting if _overlap(_joint_box(boxes[[piece]]), reached)]
        grown = bool(near)
        kept += near
        waiting = [piece for piece in waiting if piece not in near]
    return kept


def _overlap(box: tuple[int, int, int, int], area: tuple[float, float, float, float]) -> bool:
    return box[0] < area[2] and box[2] > area[0] and box[1] < area[3] and box[3] > area[1]


def _joint_box(boxes: NDArray[np.int32]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom around pieces `[n, 5]` as OpenCV describes them."""
    left, top = boxes[:, cv2.CC_STAT_LEFT], boxes[:, cv2.CC_STAT_TOP]
    right = left + boxes[:, cv2.CC_STAT_WIDTH]
    bottom = top + boxes[:, cv2.CC_STAT_HEIGHT]
    return int(left.min()), int(top.min()), int(right.max()), int(bottom.max())


def _whole(heights: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which bodies of these heights `[T]` are as high as those of the frames around them."""
    count = len(heights)
    reach = _NEIGHBOURS // 2
    listed = heights.tolist()
    around = np.array([median(listed[max(0, i - reach) : i + reach + 1]) for i in range(count)])
    whole: NDArray[np.bool_] = (heights >= _LOWEST * around) & (heights <= _HIGHEST * around)
    return whole if 2 * int(whole.sum()) >= count else np.ones(count, bool)


def _goes_right(places: NDArray[np.float64]) -> bool:
    """Say whether a body at these (column, height) in pixels, `[T, 2]`, travels to the right."""
    columns = places[:, 0]
    if np.ptp(columns) == 0:
        return False
    time = np.linspace(-0.5, 0.5, len(columns))
    slope = float(time @ columns / (time @ time))
    steadiness = slope * float(time.std() / columns.std())
    return slope > _TRAVEL * float(np.median(places[:, 1])) and steadiness > _STEADINESS
