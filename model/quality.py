"""Rates how suitable a walk is for recognition, with faults from a closed list.

Some measures come from the original frames (cut-off bodies, second bodies, grey), others from the
aligned silhouettes (repetition, rhythm of the legs). `Bounds` holds the thresholds for faults. They
are set so that clean silhouettes of real walkers pass; `benchmarks/quality.py` prints how many do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from model.outline import Outline, labelled, pieces_of

Fault = Literal[
    "TOO_FEW_FRAMES",
    "EMPTY_SILHOUETTE",
    "TRUNCATED_BODY",
    "LOW_RESOLUTION",
    "MULTIPLE_BODIES",
    "NOT_BINARY",
    "DUPLICATE_FRAMES",
    "NO_PERIODICITY",
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

# Pixels between these are neither background nor body; a mask's blurred edges are among them.
_GREY = (32, 223)
# Bodies are examined in at most this many rows, as only shares are measured, not details.
_ROWS = 96
# A body cut by the picture's side touches it over this share of its height; in a tight crop only a
# hand touches it. Cut by the top, it touches it over this share of its width; a head is narrower.
_SIDE_RUN = 0.35
_TOP_RUN = 0.5
# A second body is about as tall; a detached leg or a bag is not.
_OTHER_BODY = 0.6
# From this share of the height down, about the knees, the legs open and close.
_LEGS = 0.65
_FRAMES_FOR_RHYTHM = 45


@dataclass(frozen=True)
class Bounds:
    """Limits beyond which a measure is a fault."""

    frames: int = 13
    """Frames with a body; fewer are too few to judge."""
    empty: float = 0.25
    truncated: float = 0.25
    rows: int = 40
    """Median height of the body in pixels; the smaller model input has 64 rows."""
    other_bodies: float = 0.4
    grey: float = 0.5
    duplicates: float = 0.4
    rhythm: float = 0.15


@dataclass(frozen=True)
class Quality:
    """The measures of a walk, and the resulting faults."""

    frames: int
    empty: float
    """Share of the frames left out: those without a body, or with only part of one."""
    truncated: float
    """Share of the bodies cut by an edge of the picture."""
    rows: float
    """Median height of the body in pixels."""
    other_bodies: float
    """Share of the frames with a second body."""
    grey: float
    """Median share of the non-black pixels that are neither body nor background."""
    duplicates: float
    """Share of the frames that equal the frame before."""
    rhythm: float | None
    """Autocorrelation of the legs' spread at its best period, about 1 if all strides are alike.

    None if the walk is too short to tell.
    """
    faults: tuple[Fault, ...] = ()


@dataclass
class Observer:
    """Measures frames on their way to `align`."""

    received: int = 0
    _seen: list[tuple[bool, float, bool, float]] = field(default_factory=list)

    def watch(self, frames: Iterable[NDArray[Any] | Outline]) -> Iterator[NDArray[Any] | Outline]:
        """Measure frames uint8 or bool `[h, w]` or outlines, and pass outlines on to `align`.

        Anything else is passed on unchanged; `align` reports it.
        """
        for frame in frames:
            self.received += 1
            if isinstance(frame, Outline):
                outline = frame
            elif frame.ndim == 2 and frame.size and frame.dtype in (np.uint8, np.bool_):
                outline = Outline.of(np.ascontiguousarray(frame.view(np.uint8)))
            else:
                yield frame
                continue
            self._look_at(outline)
            yield outline

    def quality(self, silhouettes: NDArray[np.uint8], limits: Bounds | None = None) -> Quality:
        """Rate the watched walk, given its aligned silhouettes uint8 `[T, H, W]`."""
        seen = np.array(self._seen or [(False, 0.0, False, 0.0)], float)
        measured = Quality(
            frames=len(silhouettes),
            empty=1 - len(silhouettes) / max(1, self.received),
            truncated=float(seen[:, 0].mean()),
            rows=float(np.median(seen[:, 1])),
            other_bodies=float(seen[:, 2].mean()),
            grey=float(np.median(seen[:, 3])),
            duplicates=_duplicates(silhouettes),
            rhythm=_rhythm(silhouettes),
        )
        faults = _faults(measured, limits or Bounds())
        return Quality(**{**measured.__dict__, "faults": faults})

    def _look_at(self, outline: Outline) -> None:
        height = outline.box[3]
        if height:
            grey = 0.0 if outline.is_mask else grey_share(outline.lit)
            self._seen.append((_is_truncated(outline), height, _has_other(outline), grey))


def _is_truncated(outline: Outline) -> bool:
    left, above, width, height = outline.box
    touches_top, touches_bottom = above == 0, above + height == outline.height
    # A picture that ends at both head and feet is a crop; one that ends only at the feet cuts them.
    if touches_bottom and not touches_top:
        return True
    if touches_top and np.count_nonzero(outline.mask[0]) > _TOP_RUN * width:
        return True
    columns = [0] * (left == 0) + [-1] * (left + width == outline.width)
    return any(np.count_nonzero(outline.mask[:, x]) > _SIDE_RUN * height for x in columns)


def _has_other(outline: Outline) -> bool:
    step = max(1, outline.box[3] // _ROWS)
    small = outline.mask
    if step > 1:
        small = np.ascontiguousarray(small[::step, ::step])
    if (outline.pieces if step == 1 else pieces_of(small)) < 2:
        return False
    _, boxes = outline.labelled if step == 1 else labelled(small)
    heights = np.sort(boxes[1:, cv2.CC_STAT_HEIGHT])
    return bool(heights[-2] > _OTHER_BODY * heights[-1])


def grey_share(lit: NDArray[np.uint8]) -> float:
    """Return the share of a picture's non-black pixels that are neither body nor background."""
    low, high = _GREY
    # OpenCV is three times as fast as numpy, which would create and count booleans.
    between = cv2.countNonZero(cv2.inRange(lit, low + 1, high - 1))
    if between == 0:
        return 0.0
    return between / cv2.countNonZero(cv2.threshold(lit, low, 255, cv2.THRESH_BINARY)[1])


def _duplicates(silhouettes: NDArray[np.uint8]) -> float:
    if len(silhouettes) < 2:
        return 0.0
    # Comparing bytes stops at the first difference; numpy would compare all.
    frames: list[bytes] = [frame.tobytes() for frame in silhouettes]
    return sum(a == b for a, b in pairwise(frames)) / (len(frames) - 1)


def _rhythm(silhouettes: NDArray[np.uint8]) -> float | None:
    """Return the best autocorrelation of the legs' spread, at lags of 5 frames to half the walk."""
    if len(silhouettes) < _FRAMES_FOR_RHYTHM:
        return None
    spread = _spread(silhouettes)
    # Changes slower than a stride come from the path through the picture, not from the legs.
    window = np.ones(15) / 15
    padded = np.concatenate([[spread[0]] * 7, spread, [spread[-1]] * 7])
    swing = spread - np.convolve(padded, window, mode="valid")
    power = float((swing**2).mean())
    if power < 1e-4:
        return 0.0
    lags = np.arange(5, len(swing) // 2)
    products = np.correlate(swing, swing, mode="full")[len(swing) - 1 + lags]
    return float((products / (len(swing) - lags)).max()) / power


def _spread(silhouettes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the spread of the legs per frame: the deviation of their columns, in pixels."""
    lowest = silhouettes[:, int(_LEGS * silhouettes.shape[1]) :]
    legs = lowest.sum(axis=1, dtype=np.uint32).astype(np.float64)
    columns = np.arange(legs.shape[1])
    mass = np.maximum(legs.sum(axis=1), 1.0)
    mean = legs @ columns / mass
    variance = (legs * (columns - mean[:, None]) ** 2).sum(axis=1) / mass
    spread: NDArray[np.float64] = np.sqrt(variance)
    return spread


def _faults(quality: Quality, limits: Bounds) -> tuple[Fault, ...]:
    rhythm = 1.0 if quality.rhythm is None else quality.rhythm
    found: dict[Fault, bool] = {
        "TOO_FEW_FRAMES": quality.frames < limits.frames,
        "EMPTY_SILHOUETTE": quality.empty > limits.empty,
        "TRUNCATED_BODY": quality.truncated > limits.truncated,
        "LOW_RESOLUTION": quality.rows < limits.rows,
        "MULTIPLE_BODIES": quality.other_bodies > limits.other_bodies,
        "NOT_BINARY": quality.grey > limits.grey,
        "DUPLICATE_FRAMES": quality.duplicates > limits.duplicates,
        "NO_PERIODICITY": rhythm < limits.rhythm,
    }
    return tuple(fault for fault, is_there in found.items() if is_there)
