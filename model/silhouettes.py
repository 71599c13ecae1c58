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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import SilhouetteError
from model.outline import Outline

PREPROCESSING_ID = "metagait-align-2"
SIZES: tuple[tuple[int, int], ...] = ((64, 44), (128, 88))

EMPTY = "empty"
"""Frame dropped: no body, or too few pixels to be one."""
INCOMPLETE = "incomplete"
"""Frame dropped: its body is much lower or higher than in the frames around it."""

# A body of fewer pixels than this, or lower than this many rows, cannot be told from a speck.
_MIN_PIXELS = 40
_MIN_ROWS = 12
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
# Columns of scaled pictures that wait to be centred together; those of a walk are a few thousand.
_COLUMNS = 1 << 16


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


def align(frames: Iterable[NDArray[Any] | Outline], size: tuple[int, int] = (64, 44)) -> Walk:
    """Align the frames of one walk to `size` (height, width).

    Args:
        frames: 2-D pictures of any size, uint8 or bool, or their outlines, where somebody made them
            before. A frame whose largest value is 1 is read as a 0/1 mask, so is a bool frame;
            anything else as grey 0..255.
        size: one of `SIZES`.

    Returns:
        The walk with every frame in which there is a body, in order.

    Raises:
        SilhouetteError: a frame is not a 2-D uint8 or bool picture, or no frame holds a body.

    """
    if size not in SIZES:
        raise SilhouetteError(f"expected a size of {SIZES}, got {size}")
    centring = _Centring(size[1])
    places: list[tuple[float, float]] = []
    received = 0
    for frame in frames:
        outline = frame if isinstance(frame, Outline) else _checked(frame, received)
        body = _find_body(outline)
        received += 1
        if body is not None:
            centring.add(_scaled(body.pixels, size[0]))
            places.append((body.left + body.pixels.shape[1] / 2, body.pixels.shape[0]))
    if not places:
        raise SilhouetteError(
            f"expected at least one frame with a body, got {received} frames of which none has one"
        )
    bodies = np.array(places)
    whole = _whole(bodies[:, 1])
    silhouettes = centring.cut(mirrored=_goes_right(bodies[whole]))[whole]
    dropped = {EMPTY: received - len(places), INCOMPLETE: len(places) - len(silhouettes)}
    return Walk(
        silhouettes,
        FrameReport(received, len(silhouettes), {why: n for why, n in dropped.items() if n}),
    )


def align_frame(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Align one frame uint8 `[h, w]`, grey in any case, to `size`; None when it shows no body."""
    outline = Outline.of(np.ascontiguousarray(grey))
    body = None if outline.is_mask else _find_body(outline)
    if body is None:
        return None
    centring = _Centring(size[1])
    centring.add(_scaled(body.pixels, size[0]))
    (aligned,) = centring.cut(mirrored=False)
    return np.asarray(aligned, np.uint8)


def _scaled(body: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = max(1, round(body.shape[1] * height / body.shape[0]))
    # INTER_AREA averages when it shrinks, so thin limbs fade instead of vanishing.
    shrinks = body.shape[0] > height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(body, (width, height), interpolation=interpolation), np.uint8)


class _Centring:
    """Cuts pictures `[H, w]` to `width` columns around the one at which half of the mass is passed.

    That of a picture and of its mirror image are not always each other's mirror image, and whether
    a walk is mirrored is known at its end. Pictures as wide as the frames that somebody sent are
    not kept until then; both are cut.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._waiting: list[NDArray[np.uint8]] = []
        self._columns = 0
        self._cut: tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]] = ([], [])

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Take the next picture; all have the same height."""
        self._waiting.append(picture)
        self._columns += picture.shape[1]
        if self._columns > _COLUMNS:
            self._cut_waiting(False, True)

    def cut(self, *, mirrored: bool) -> NDArray[np.uint8]:
        """Return what was added, cut, or cut from the mirror images: `[T, H, width]`."""
        self._cut_waiting(mirrored)
        made = np.concatenate(self._cut[mirrored])
        return np.ascontiguousarray(made[:, :, ::-1]) if mirrored else made

    def _cut_waiting(self, *wanted: bool) -> None:
        """Cut what waits for each that is wanted: to be mirrored or not."""
        if not self._waiting:
            return
        wide = np.concatenate(self._waiting, axis=1)
        ends = np.cumsum([picture.shape[1] for picture in self._waiting])
        starts = np.concatenate([[0], ends[:-1]])
        sums = cv2.reduce(wide, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
        mass = np.concatenate([[0], np.cumsum(sums, dtype=np.int64)])
        half = (mass[starts] + mass[ends]) / 2
        # From the left the middle is the first column that passes half, from the right the last;
        # where nothing is left of a body after scaling, any column will do.
        first = np.clip(np.searchsorted(mass[1:], half, side="right"), starts, ends)
        last = np.clip(np.searchsorted(mass[1:], half, side="left"), starts, ends)
        reach = self._width // 2
        for mirrored in wanted:
            begins = last + reach - self._width + 1 if mirrored else first - reach
            cut = np.zeros((len(starts), len(wide), self._width), np.uint8)
            spans = zip(cut, starts.tolist(), ends.tolist(), begins.tolist(), strict=True)
            for picture, start, end, begin in spans:
                low, high = max(start, begin), min(end, begin + self._width)
                picture[:, low - begin : high - begin] = wide[:, low:high]
            self._cut[mirrored].append(cut)
        self._waiting, self._columns = [], 0


def _checked(frame: NDArray[Any], position: int) -> Outline:
    if frame.ndim != 2 or frame.dtype not in (np.uint8, np.bool_) or 0 in frame.shape:
        raise SilhouetteError(
            f"frame {position}: expected a uint8 or bool picture [height, width], "
            f"got {frame.dtype} {list(frame.shape)}"
        )
    return Outline.of(np.ascontiguousarray(frame.view(np.uint8)))


_Span = tuple[int, int, int, int]


class _Body(NamedTuple):
    """The pixels within a body's bounding box, and the column at which that box begins."""

    pixels: NDArray[np.uint8]
    left: int


def _find_body(outline: Outline) -> _Body | None:
    """Cut a frame to its body's rows and columns, in grey; None when there is too little of one."""
    left, _, _, height = outline.box
    if height < _MIN_ROWS or cv2.countNonZero(outline.mask) < _MIN_PIXELS:
        return None
    # In bytes -1 is 255, which is half the work of multiplying.
    grey = np.negative(outline.mask) if outline.is_mask else outline.pixels
    # Nearly always there is one piece, which is in each row of its box.
    if outline.pieces == 1:
        return _Body(grey, left)
    if cv2.countNonZero(cv2.reduce(outline.mask, 1, cv2.REDUCE_MAX)) < _MIN_ROWS:
        return None
    labels, boxes = outline.labelled
    kept, (x, y, right, bottom) = _parts_of_body(boxes)
    if boxes[kept, cv2.CC_STAT_AREA].sum() < _MIN_PIXELS:
        return None
    if bottom - y < _MIN_ROWS:
        return None
    pixels = grey
    if len(kept) < len(boxes) - 1:
        # What belongs to no piece, the grey fringe of an outline, stays; other pieces go.
        wanted = np.zeros(len(boxes), np.uint8)
        wanted[0] = wanted[kept] = 255
        pixels = grey & wanted[labels]
    return _Body(pixels[y:bottom, x:right], left + x)


def _parts_of_body(boxes: NDArray[np.int32]) -> tuple[NDArray[np.intp], _Span]:
    """Choose the connected pieces that are one body: the largest, and what lies close enough to it.

    A head or a foot that a segmenter cut off belongs to the body; specks elsewhere in the picture
    do not, and one of them would be enough to spoil the crop. A picture of noise may have a piece
    for every tenth pixel, so nothing is done piece by piece.

    Returns:
        Their numbers, and the box around them.

    """
    areas = boxes[:, cv2.CC_STAT_AREA]
    first, second = np.argsort(-areas)[:2].tolist()
    largest = first or second  # 0 is no piece
    large = areas >= _SMALLEST_PART * areas[largest]
    large[[0, largest]] = False
    parts, waiting = [np.array([largest])], np.flatnonzero(large)
    x, y, width, height, _ = boxes[largest].tolist()
    body = (x, y, x + width, y + height)
    while len(waiting):
        left, top, right, bottom = body
        aside, along = _REACH_ASIDE * (bottom - top), _REACH_ALONG * (bottom - top)
        begins, ends = boxes[waiting, :2], boxes[waiting, :2] + boxes[waiting, 2:4]
        apart = (begins >= (right + aside, bottom + along)) | (ends <= (left - aside, top - along))
        near = ~apart.any(axis=1)
        if not near.any():
            break
        parts.append(waiting[near])
        waiting = waiting[~near]
        first, last = begins[near].min(axis=0).tolist(), ends[near].max(axis=0).tolist()
        body = (min(left, first[0]), min(top, first[1]), max(right, last[0]), max(bottom, last[1]))
    return np.concatenate(parts), body


def _whole(heights: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which bodies of these heights `[T]` are as high as those of the frames around them."""
    count = len(heights)
    reach = _NEIGHBOURS // 2
    lowest, highest = heights.min(), heights.max()
    if lowest >= _LOWEST * highest and highest <= _HIGHEST * lowest:
        return np.ones(count, bool)  # whatever the medians are
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
    if slope <= _TRAVEL * median(places[:, 1].tolist()):
        return False
    return slope * float(time.std() / columns.std()) > _STEADINESS
