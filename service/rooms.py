"""Rooms: what a route needs to answer for one gallery, and the dependencies that pass it in."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Query, Request

from gallery import Calibration, Gallery, GallerySettings
from model.encoder import Encoder
from model.quality import Bounds
from service.admission import Admission
from service.alignment import AlignedWalk, aligned_walk
from service.batcher import Batcher
from service.clocks import timed
from service.decision import Threshold, in_force
from service.draining import Draining
from service.engines import Engine
from service.errors import DeadlineError, TooFewFramesError
from service.idempotency import Answers
from service.jobs import RebuildJobs
from service.keyring import Caller, KeyRing
from service.limits import Limits
from service.metrics import Metrics
from service.receive import received
from service.settings import Settings
from service.uploads import Upload, holds_video

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Rooms:
    """The model, gallery and resources behind one gallery; CPU work runs in the executors."""

    settings: Settings
    limits: Limits
    engine: Engine
    gallery: Gallery
    keys: KeyRing
    jobs: RebuildJobs
    decoders: Executor
    video_decoders: Executor
    """Separate, so that slow videos, which anybody can make, delay only other videos."""
    gallery_threads: Executor
    long_thread: Executor
    """Runs what takes minutes, one at a time, so that it never fills the gallery threads."""
    admission: Admission
    draining: Draining
    metrics: Metrics
    answers: Answers

    @property
    def encoder(self) -> Encoder:
        """Return the encoder of this gallery's model."""
        return self.engine.encoder

    @property
    def batcher(self) -> Batcher:
        """Return the queue of that encoder; galleries with the same model share it."""
        return self.engine.batcher

    async def ask(self, question: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a short gallery call in the gallery threads."""
        loop, work = asyncio.get_running_loop(), partial(question, *args, **kwargs)
        answer, clock = await loop.run_in_executor(self.gallery_threads, timed, work)
        self.metrics.stage("gallery", clock)
        return answer

    async def ask_at_length(self, question: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a gallery call that may take minutes, in the long thread."""
        work = partial(question, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self.long_thread, work)

    def threshold(
        self, calibration: Calibration | None, settings: GallerySettings, subjects: int
    ) -> Threshold | None:
        """Return the threshold in force for a gallery of `subjects` people; None without one."""
        return in_force(
            calibration,
            self.encoder.facts.threshold,
            gallery_size=subjects,
            aggregation=settings.aggregation_in_words,
        )

    async def align(self, upload: Upload) -> AlignedWalk:
        """Decode and align the walk of an upload.

        Raises:
            RequestError: it cannot be decoded, or has too few frames with a body.
            SilhouetteError: no frame holds a body.
            DeadlineError: it took longer than a walk may wait for the encoder.

        """
        wait_s, gone = self.settings.queue_timeout_s, threading.Event()
        work = partial(
            aligned_walk,
            upload,
            self.limits,
            self.encoder.facts.size,
            Bounds(frames=self.settings.conclusive_frames),
            ends_at=time.perf_counter() + wait_s,
            gone=gone,
        )
        decoders = self.video_decoders if holds_video(upload) else self.decoders
        try:
            async with asyncio.timeout(wait_s):
                aligned = await asyncio.get_running_loop().run_in_executor(decoders, work)
        except TimeoutError as error:
            raise DeadlineError(
                f"the walk was not decoded within {wait_s:g} seconds; try again in a moment",
                retry_after_s=self.admission.retry_after_s,
            ) from error
        finally:
            # A caller that hangs up releases its place, so the thread must stop as well.
            gone.set()
        self.metrics.stage("decode", aligned.decoding)
        self.metrics.stage("align", aligned.aligning)
        self.metrics.stage("quality", aligned.judging)
        report = aligned.walk.report
        if report.used < self.settings.min_frames:
            raise TooFewFramesError(
                f"expected at least {self.settings.min_frames} frames with a body, "
                f"got {report.used} in {report.received}"
            )
        return aligned


GalleryName = Annotated[
    str | None,
    Query(
        alias="gallery",
        max_length=64,
        description="Name of the gallery. Without it, the service's own gallery is used.",
    ),
]


def rooms_of(request: Request) -> Rooms:
    """Return the service's own rooms as of now; only for what needs neither model nor gallery."""
    rooms: Rooms = request.app.state.galleries.own.rooms
    return rooms


async def leased_rooms(request: Request, gallery: GalleryName = None) -> AsyncIterator[Rooms]:
    """Yield the rooms of the gallery that a request names; they stay open until its answer."""
    async with request.app.state.galleries.lease(gallery) as rooms:
        yield rooms


async def own_rooms(request: Request) -> AsyncIterator[Rooms]:
    """Yield the rooms of the service's own gallery, whatever the request names."""
    async with request.app.state.galleries.lease(None) as rooms:
        yield rooms


RoomsHere = Annotated[Rooms, Depends(leased_rooms)]
OwnRooms = Annotated[Rooms, Depends(own_rooms)]


async def upload_of(request: Request, rooms: RoomsHere) -> AsyncIterator[Upload]:
    """Admit and receive an upload; its files and its place are released after the answer."""
    caller: Caller = request.state.caller
    with rooms.admission.place(rooms.keys.sharer(caller)) as place:
        started, timeout_s = time.perf_counter(), rooms.settings.upload_timeout_s
        async with received(request, rooms.limits, timeout_s, place) as upload:
            rooms.metrics.waited("receive", time.perf_counter() - started)
            yield upload


UploadHere = Annotated[Upload, Depends(upload_of)]
