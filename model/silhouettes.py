"""Turns the frames of one walk into an aligned walk, for training, evaluation and serving alike.

Each frame is cropped to the rows of the body, resized to the requested height with its aspect ratio
kept, centred on the column where the cumulative mass passes one half, and cropped to the requested
width. This is GaitSet's alignment (Chao et al., AAAI 2019), which MetaGait's 64×44 and 128×88
inputs assume.

One more step is our own: a walk that crosses the picture from left to right is mirrored, so that
every walk goes to the left. A person seen once from the left and once from the right side of the
path is then half as hard to recognise (docs/experiments.md). Walks that stay in place in the
picture, because they head for the camera or were cropped beforehand, are not mirrored.

`PREPROCESSING_ID` identifies exactly this function. It is written into every model file, and an
encoder refuses a model trained with different preprocessing. Whenever the output of `align`
changes, the id must change too.
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
"""Reason for dropping a frame: no body, or too few pixels to be one."""
INCOMPLETE = "incomplete"
"""Reason for dropping a frame: its body is much shorter or taller than in the frames around it."""

# A body with fewer pixels or fewer rows than this cannot be told from a speck.
_MIN_PIXELS = 40
_MIN_ROWS = 12
# A connected piece belongs to the body if it has at least this share of the largest piece's pixels
# and lies near it: within these shares of the body's height, sideways and vertically.
_SMALLEST_PART = 0.02
_REACH_ASIDE, _REACH_ALONG = 0.1, 0.3
# A body outside these factors of the median height over this many neighbouring frames is only part
# of a body, or more than one.
_LOWEST, _HIGHEST, _NEIGHBOURS = 0.85, 1.2, 15
# A walk is mirrored if it moves right by this many body heights, this steadily. A stride is about
# 0.8 heights; the sway of a walk towards the camera is a tenth of that, and not steady.
_TRAVEL = 0.2
_STEADINESS = 0.8
# How many columns of scaled pictures may wait to be centred together; a walk has a few thousand.
_COLUMNS = 1 << 16


@dataclass(frozen=True)
class FrameReport:
    """How many frames were received, how many were used, and why the others were dropped."""

    received: int
    used: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Walk:
    """An aligned walk: `silhouettes` uint8 `[T, H, W]` (0 background, 255 body), and its report."""

    silhouettes: NDArray[np.uint8]
    report: FrameReport


def align(frames: Iterable[NDArray[Any] | Outline], size: tuple[int, int] = (64, 44)) -> Walk:
    """Align the frames of one walk to `size` (height, width).

    Args:
        frames: 2-D pictures of any size, uint8 or bool, or their outlines if already computed. A
            bool frame, or one whose largest value is 1, is read as a 0/1 mask; anything else as
            grey 0..255.
        size: one of `SIZES`.

    Returns:
        The walk, with every frame that shows a whole body, in order.

    Raises:
        SilhouetteError: `size` is not one of `SIZES`, a frame is not a 2-D uint8 or bool picture,
            or no frame contains a body.

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
            f"expected at least one frame with a body, white (255 or 1) on black, got {received} "
            "frames of which none has one"
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
    """Align one frame uint8 `[h, w]` to `size`, or return None if it shows no body.

    The frame is always read as grey, never as a 0/1 mask.
    """
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
    # INTER_AREA averages when shrinking, so thin limbs fade instead of vanishing.
    shrinks = body.shape[0] > height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(body, (width, height), interpolation=interpolation), np.uint8)


class _Centring:
    """Crops pictures `[H, w]` to `width` columns, centred on where half of the mass is passed.

    The crop of a mirrored picture is not always the mirror image of its crop, and only at the end
    of a walk is it known whether to mirror. Rather than keep pictures as wide as the frames
    received until then, both crops are made.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._waiting: list[NDArray[np.uint8]] = []
        self._columns = 0
        self._cut: tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]] = ([], [])

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add the next picture; all must have the same height."""
        self._waiting.append(picture)
        self._columns += picture.shape[1]
        if self._columns > _COLUMNS:
            self._cut_waiting(False, True)

    def cut(self, *, mirrored: bool) -> NDArray[np.uint8]:
        """Return the crops of all added pictures, or of their mirror images: `[T, H, width]`."""
        self._cut_waiting(mirrored)
        made = np.concatenate(self._cut[mirrored])
        return np.ascontiguousarray(made[:, :, ::-1]) if mirrored else made

    def _cut_waiting(self, *wanted: bool) -> None:
        """Crop the waiting pictures once for each of `wanted` (True: mirrored, False: not)."""
        if not self._waiting:
            return
        wide = np.concatenate(self._waiting, axis=1)
        ends = np.cumsum([picture.shape[1] for picture in self._waiting])
        starts = np.concatenate([[0], ends[:-1]])
        sums = cv2.reduce(wide, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
        mass = np.concatenate([[0], np.cumsum(sums, dtype=np.int64)])
        half = (mass[starts] + mass[ends]) / 2
        # Scanned from the left, the middle is the first column that passes half; from the right,
        # the last. If scaling left nothing of a body, any column will do.
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
    """The pixels within a body's bounding box, and the column where that box begins."""

    pixels: NDArray[np.uint8]
    left: int


def _find_body(outline: Outline) -> _Body | None:
    """Crop a frame to its body, in grey; return None if there is too little of a body."""
    left, _, _, height = outline.box
    if height < _MIN_ROWS or cv2.countNonZero(outline.mask) < _MIN_PIXELS:
        return None
    # In uint8, -1 is 255; negating takes half the time of multiplying.
    grey = np.negative(outline.mask) if outline.is_mask else outline.pixels
    # The usual case: a single piece, which has pixels in every row of its box.
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
        # Other pieces are blanked; pixels of no piece, such as an outline's grey fringe, stay.
        wanted = np.zeros(len(boxes), np.uint8)
        wanted[0] = wanted[kept] = 255
        pixels = grey & wanted[labels]
    return _Body(pixels[y:bottom, x:right], left + x)


def _parts_of_body(boxes: NDArray[np.int32]) -> tuple[NDArray[np.intp], _Span]:
    """Select the connected pieces that form one body: the largest, and those close enough to it.

    A head or foot that a segmenter detached belongs to the body; specks elsewhere do not, and a
    single one would spoil the crop. A noisy picture may have a piece for every tenth pixel, so
    nothing loops over single pieces.

    Returns:
        Their numbers, and the box around them.

    """
    areas = boxes[:, cv2.CC_STAT_AREA]
    first, second = np.argsort(-areas)[:2].tolist()
    largest = first or second  # label 0 is the background
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
    """Mark which bodies of heights `[T]` are about as tall as those in the frames around them.

    If fewer than half are, all are marked.
    """
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
    """Return whether a body at these (column, height) positions in pixels `[T, 2]` moves right."""
    columns = places[:, 0]
    if np.ptp(columns) == 0:
        return False
    time = np.linspace(-0.5, 0.5, len(columns))
    slope = float(time @ columns / (time @ time))
    if slope <= _TRAVEL * median(places[:, 1].tolist()):
        return False
    return slope * float(time.std() / columns.std()) > _STEADINESS
