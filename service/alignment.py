"""Turns an upload into a walk for the encoder, and measures its quality and each step's time."""

import math
import time
from dataclasses import dataclass
from threading import Event
from typing import Any

from numpy.typing import NDArray

from model.outline import Outline
from model.quality import Bounds, Observer, Quality
from model.silhouettes import Walk, align
from service.clocks import Clock, Timed
from service.limits import Limits
from service.uploads import Frames, Upload, frames_of


@dataclass(frozen=True)
class AlignedWalk:
    """A walk ready for the encoder, its quality, and how long each step took."""

    walk: Walk
    quality: Quality
    decoding: Clock
    aligning: Clock
    judging: Clock
    """How long measuring the quality took."""


def aligned_walk(
    upload: Upload,
    limits: Limits,
    size: tuple[int, int],
    good: Bounds,
    *,
    ends_at: float = math.inf,
    gone: Event | None = None,
) -> AlignedWalk:
    """Decode the walk of an upload, align it to `size`, and measure its quality.

    Args:
        upload: the received files.
        limits: the limits of their content.
        size: height and width of an aligned silhouette.
        good: bounds of a walk of good quality.
        ends_at: the `time.perf_counter` after which nobody waits for the walk any more.
        gone: set if nobody waits for it any more before that.

    Raises:
        TimeoutError: nobody waits for the walk any more.
        RequestError: the upload cannot be decoded.
        SilhouetteError: no frame holds a body.

    """
    whole, opening, observer = Clock(), Clock(), Observer()
    with whole.running():
        with opening.running():  # checking a zip's list of entries takes a while
            frames = _in_time(frames_of(upload, limits), ends_at, gone or Event())
        # `align` pulls frames through decoding and observing: only a few are in memory at a time.
        decoding = Timed(frames, _bytes_of, opening)
        watching = Timed(observer.watch(decoding), _bytes_of)
        walk = align(watching, size)
        judging = watching.clock - decoding.clock
        with judging.running():
            quality = observer.quality(walk.silhouettes, good)
    return AlignedWalk(walk, quality, decoding.clock, whole - decoding.clock - judging, judging)


def _in_time(frames: Frames, ends_at: float, gone: Event) -> Frames:
    """Yield frames one by one; raises TimeoutError once nobody waits for them."""
    while time.perf_counter() < ends_at and not gone.is_set():
        frame = next(frames, None)
        if frame is None:
            return
        yield frame
    raise TimeoutError("expected to decode the walk while its caller waits")


def _bytes_of(frame: NDArray[Any] | Outline) -> int:
    return frame.lit.nbytes if isinstance(frame, Outline) else frame.nbytes
