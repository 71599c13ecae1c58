"""An upload -> a walk that the encoder takes, with its quality and what each step took."""

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
    """A walk ready for the encoder, and what it took to get it there."""

    walk: Walk
    quality: Quality
    decoding: Clock
    aligning: Clock
    judging: Clock
    """What measuring the quality took."""


def aligned_walk(
    upload: Upload,
    limits: Limits,
    size: tuple[int, int],
    good: Bounds,
    *,
    ends_at: float = math.inf,
    gone: Event | None = None,
) -> AlignedWalk:
    """Decode and align the walk of an upload to `size`, and judge it by the bounds of a good one.

    Args:
        upload: what came.
        limits: what it may hold.
        size: height and width of a silhouette.
        good: bounds of a walk of good quality.
        ends_at: `time.perf_counter` at which nobody waits for it any more.
        gone: set when nobody waits for it any more, sooner than that.

    Raises:
        TimeoutError: it is past `ends_at`.
        RequestError: from the decoding.
        SilhouetteError: no frame holds a body.

    """
    whole, opening, observer = Clock(), Clock(), Observer()
    with whole.running():
        with opening.running():  # judging a zip's list of entries takes a while
            frames = _in_time(frames_of(upload, limits), ends_at, gone or Event())
        # Frames are decoded and looked at while `align` pulls them: memory holds a few at a time.
        decoding = Timed(frames, _bytes_of, opening)
        watching = Timed(observer.watch(decoding), _bytes_of)
        walk = align(watching, size)
        judging = watching.clock - decoding.clock
        with judging.running():
            quality = observer.quality(walk.silhouettes, good)
    return AlignedWalk(walk, quality, decoding.clock, whole - decoding.clock - judging, judging)


def _in_time(frames: Frames, ends_at: float, gone: Event) -> Frames:
    """Give frames one by one for as long as somebody waits for them."""
    while time.perf_counter() < ends_at and not gone.is_set():
        frame = next(frames, None)
        if frame is None:
            return
        yield frame
    raise TimeoutError("expected to decode the walk while its caller waits")


def _bytes_of(frame: NDArray[Any] | Outline) -> int:
    return frame.lit.nbytes if isinstance(frame, Outline) else frame.nbytes
