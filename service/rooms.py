"""What a running service holds, and the road that every walk takes through it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated, ParamSpec, TypeVar

import numpy as np
from fastapi import Depends, Query, Request
from numpy.typing import NDArray

from gallery import Gallery
from model.encoder import Encoder
from model.quality import Bounds, Observer, Quality
from model.silhouettes import Walk, align
from service.admission import Admission
from service.batcher import Batcher
from service.decision import Threshold, in_force
from service.draining import Draining
from service.engines import Engine
from service.errors import TooFewFramesError
from service.idempotency import Answers
from service.jobs import RebuildJobs
from service.keyring import KeyRing
from service.limits import Limits
from service.metrics import Metrics
from service.receive import received
from service.settings import Settings
from service.uploads import Frames, Upload, frames_of

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class AlignedWalk:
    """A walk ready for the encoder, and what it took to get it there."""

    walk: Walk
    decode_ms: float
    align_ms: float
    quality: Quality


@dataclass(frozen=True)
class Rooms:
    """The model and gallery rooms as the routes see them. CPU work runs in the executors."""

    settings: Settings
    limits: Limits
    engine: Engine
    gallery: Gallery
    keys: KeyRing
    jobs: RebuildJobs
    decoders: Executor
    gallery_threads: Executor
    admission: Admission
    draining: Draining
    metrics: Metrics
    answers: Answers

    @property
    def encoder(self) -> Encoder:
        """The encoder of this gallery's model."""
        return self.engine.encoder

    @property
    def batcher(self) -> Batcher:
        """The queue of that encoder, which galleries of one model share."""
        return self.engine.batcher

    async def ask(self, question: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the gallery in its own threads."""
        loop, started = asyncio.get_running_loop(), time.perf_counter()
        answer = await loop.run_in_executor(self.gallery_threads, lambda: question(*args, **kwargs))
        self.metrics.stage("gallery", time.perf_counter() - started)
        return answer

    def threshold(self, gallery_size: int) -> Threshold | None:
        """Find the threshold in force for so many subjects; called in a gallery thread."""
        return in_force(
            self.gallery.calibration(),
            self.encoder.facts.threshold,
            gallery_size=gallery_size,
            aggregation=self.gallery.settings().aggregation_in_words,
        )

    async def align(self, upload: Upload) -> AlignedWalk:
        """Decode and align the walk of an upload.

        Raises:
            RequestError: from the decoding, or TooFewFramesError.
            SilhouetteError: no frame holds a body.

        """
        loop = asyncio.get_running_loop()
        aligned = await loop.run_in_executor(
            self.decoders,
            _align,
            upload,
            self.limits,
            self.encoder.facts.size,
            Bounds(frames=self.settings.conclusive_frames),
        )
        self.metrics.stage("decode", aligned.decode_ms / 1000)
        self.metrics.stage("align", aligned.align_ms / 1000)
        report = aligned.walk.report
        if report.used < self.settings.min_frames:
            raise TooFewFramesError(
                f"expected at least {self.settings.min_frames} frames with a body, "
                f"got {report.used} in {report.received}"
            )
        return aligned


def _align(upload: Upload, limits: Limits, size: tuple[int, int], good: Bounds) -> AlignedWalk:
    started = time.perf_counter()
    decoding, observer = _TimedFrames(frames_of(upload, limits)), Observer()
    walk = align(observer.watch(decoding), size)
    seen = observer.quality(walk.silhouettes, good)
    total = time.perf_counter() - started
    return AlignedWalk(walk, decoding.seconds * 1000, (total - decoding.seconds) * 1000, seen)


class _TimedFrames:
    """Frames are decoded while `align` pulls them; this tells the two apart in the timings."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self.seconds = 0.0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return self

    def __next__(self) -> NDArray[np.uint8]:
        started = time.perf_counter()
        try:
            return next(self._frames)
        finally:
            self.seconds += time.perf_counter() - started


GalleryName = Annotated[
    str | None,
    Query(
        alias="gallery",
        max_length=64,
        description="name of the gallery; default: the one that the service was started for",
    ),
]


def rooms_of(request: Request) -> Rooms:
    """Tell which rooms answer now, for what needs neither model nor gallery."""
    rooms: Rooms = request.app.state.galleries.own.rooms
    return rooms


async def leased_rooms(request: Request, gallery: GalleryName = None) -> AsyncIterator[Rooms]:
    """Give a route the rooms of the gallery that it names; they stay the same until its answer."""
    async with request.app.state.galleries.lease(gallery) as rooms:
        yield rooms


async def own_rooms(request: Request) -> AsyncIterator[Rooms]:
    """Give a route the rooms of the service's own gallery, whatever the request names."""
    async with request.app.state.galleries.lease(None) as rooms:
        yield rooms


RoomsHere = Annotated[Rooms, Depends(leased_rooms)]
OwnRooms = Annotated[Rooms, Depends(own_rooms)]


async def upload_of(request: Request, rooms: RoomsHere) -> AsyncIterator[Upload]:
    """Admit and receive an upload; its files and its place are given back after the answer."""
    with rooms.admission.place() as place:
        started, timeout_s = time.perf_counter(), rooms.settings.upload_timeout_s
        async with received(request, rooms.limits, timeout_s, place) as upload:
            rooms.metrics.stage("receive", time.perf_counter() - started)
            yield upload


UploadHere = Annotated[Upload, Depends(upload_of)]
