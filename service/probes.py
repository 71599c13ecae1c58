"""Takes a walk from upload to answer: align, embed, search and decide.

A probe longer than a window is embedded in windows that overlap by half. The window whose embedding
is nearest to the mean of all, the speaker, stands for the walk, so that distances remain distances
between two walks, for which the threshold was measured. The others show how far they agree.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from gallery import Candidate, GallerySize, Moment, relation
from service import schemas
from service.alignment import AlignedWalk
from service.arrivals import Arrival
from service.batcher import Encoded
from service.decision import Decision, Threshold, decide
from service.rooms import Rooms

R = TypeVar("R")


@dataclass(frozen=True)
class Probe:
    """A walk with its embeddings, and the time at which work on its request began."""

    aligned: AlignedWalk
    windows: tuple[Encoded, ...]
    """One if the walk is no longer than a window; none if the encoder was not asked."""
    window_frames: int
    started: float

    @property
    def speaker(self) -> Encoded:
        """Return the window nearest to the mean of all."""
        if len(self.windows) == 1:
            return self.windows[0]
        embeddings = np.stack([window.embedding for window in self.windows])
        distances = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1)
        return self.windows[int(distances.argmin())]

    def timings(self, search_ms: float) -> schemas.Timings:
        """Return how long each step took; of several windows, the slowest counts."""
        return schemas.Timings(
            decode=_round(self.aligned.decoding.wall_s * 1000),
            align=_round((self.aligned.aligning + self.aligned.judging).wall_s * 1000),
            queue=_round(max((window.queue_ms for window in self.windows), default=0)),
            encode=_round(max((window.encode_ms for window in self.windows), default=0)),
            search=_round(search_ms),
            total=_round((time.perf_counter() - self.started) * 1000),
        )


@dataclass(frozen=True)
class Found:
    """What the searches for a probe found, and what the answer says beside it."""

    windows: tuple[tuple[Candidate, ...], ...]
    """The candidates of each window, the speaker's first."""
    gallery: GallerySize
    threshold: Threshold | None
    view: float | None
    views: Mapping[str, float]
    search_ms: float

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Return the speaker's candidates, nearest first."""
        return self.windows[0]

    @property
    def margin(self) -> float | None:
        """Return how much farther the second subject is than the first, if there is one."""
        if len(self.candidates) < 2:
            return None
        return self.candidates[1].distance - self.candidates[0].distance

    def shown(self, count: int) -> tuple[schemas.Candidate, ...]:
        """Return the first `count` candidates, each with its view's relation to the probe's."""
        return tuple(
            schemas.Candidate(
                rank=one.rank,
                subject=one.subject,
                distance=one.distance,
                sample_id=one.sample_id,
                view=self._relation(one.sample_id),
            )
            for one in self.candidates[:count]
        )

    def _relation(self, sample_id: str) -> schemas.ViewRelation | None:
        sample = self.views.get(sample_id)
        if self.view is None or sample is None:
            return None
        return schemas.ViewRelation.model_validate(relation(self.view, sample))


async def with_probe(
    arrived: Arrival,
    finish: Callable[[Rooms, Probe], Awaitable[R]],
    *,
    before: Callable[[Rooms, Probe], Awaitable[R | None]] | None = None,
    in_windows: bool = True,
) -> R:
    """Align a walk, embed it, and return what `finish` makes of it, all by a single model.

    If `before` answers about the aligned walk, the encoder is not asked. The work before `finish`
    is abandoned if the caller hangs up.

    Raises:
        RequestError, SilhouetteError: the upload holds no usable walk.
        BusyError, NotReadyError, DeadlineError: the encoder has no time for it.

    """
    started, rooms = time.perf_counter(), arrived.rooms
    aligned = await unless_gone(arrived.request, rooms.align(arrived.upload))
    silhouettes = aligned.walk.silhouettes
    frames = rooms.settings.window_frames if in_windows else len(silhouettes)

    async def embedded(rooms: Rooms) -> R:
        if before is not None:
            answer = await before(rooms, Probe(aligned, (), frames, started))
            if answer is not None:
                return answer
        parts = split(silhouettes, frames)
        embedding = _embed(rooms, parts, started, takes_place=not arrived.is_part)
        windows = await unless_gone(arrived.request, embedding)
        return await finish(rooms, Probe(aligned, windows, frames, started))

    return await arrived.serving.with_one_model(rooms, embedded)


async def _embed(
    rooms: Rooms, parts: Sequence[NDArray[np.uint8]], since: float, *, takes_place: bool
) -> tuple[Encoded, ...]:
    if len(parts) == 1:
        return (await rooms.batcher.embed(parts[0], since=since, takes_place=takes_place),)
    with rooms.admission.several(len(parts)):
        tasks = [
            asyncio.ensure_future(
                rooms.batcher.embed(part, since=since, takes_place=takes_place and not number)
            )
            for number, part in enumerate(parts)
        ]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            # If one fails, cancel the rest: nobody would use their answers.
            for task in tasks:
                task.cancel()


def split(silhouettes: NDArray[np.uint8], frames: int) -> list[NDArray[np.uint8]]:
    """Cut `[T, H, W]` into windows of `frames`, overlapping by half; the last ends with it."""
    last = len(silhouettes) - frames
    if last <= 0:
        return [silhouettes]
    starts = [*range(0, last, max(1, frames // 2)), last]
    return [silhouettes[start : start + frames] for start in starts]


async def searched(
    rooms: Rooms,
    probe: Probe,
    search: Callable[[Moment, NDArray[np.float32]], tuple[Candidate, ...]],
    view: float | None,
) -> Found:
    """Search for each window, and look up what else the answer says about the candidates."""
    speaker = probe.speaker
    others = [window for window in probe.windows if window is not speaker]

    def found() -> Found:
        started = time.perf_counter()
        with rooms.gallery.moment() as moment:
            windows = tuple(search(moment, window.embedding) for window in (speaker, *others))
            size = moment.size
            threshold = rooms.threshold(moment.calibration, moment.settings, size.subjects)
        search_ms = (time.perf_counter() - started) * 1000
        ids = [] if view is None else [one.sample_id for one in windows[0]]
        views = rooms.gallery.views(ids) if ids else {}
        return Found(windows, size, threshold, view, views, search_ms)

    return await rooms.ask(found)


def judged(rooms: Rooms, probe: Probe, found: Found) -> dict[str, Any]:
    """Build the part of the answer that identify and verify share."""
    faults = probe.aligned.quality.faults
    verdicts = [decide(one, found.threshold, faults=faults) for one in found.windows]
    decision = verdicts[0]
    rooms.metrics.decided(decision.answer, decision.reasons)
    return {
        "decision": decision.answer,
        "reasons": decision.reasons,
        "threshold": schemas.Threshold.of(found.threshold),
        "frames": schemas.Frames.of(probe.aligned.walk.report),
        "quality": schemas.Quality.model_validate(probe.aligned.quality),
        "windows": _windows(probe, found.windows, verdicts),
        "model": schemas.Model(model_id=rooms.encoder.facts.model_id),
        "gallery": schemas.Gallery.model_validate(found.gallery),
        "timings_ms": probe.timings(found.search_ms),
    }


def _windows(
    probe: Probe, found: Sequence[Sequence[Candidate]], verdicts: Sequence[Decision]
) -> schemas.Windows | None:
    if len(found) == 1:
        return None
    nearest = [candidates[0].subject if candidates else None for candidates in found]
    return schemas.Windows(
        count=len(found),
        frames=probe.window_frames,
        same_nearest=nearest.count(nearest[0]),
        same_decision=sum(verdict.answer == verdicts[0].answer for verdict in verdicts),
    )


async def unless_gone(request: Request | None, work: Coroutine[Any, Any, R]) -> R:
    """Await work, but cancel it if the caller hangs up: nobody would read the answer."""
    if request is None:
        return await work
    # A task of its own, which ends in silence: a cancelled `gather` would be an error in the log.
    task = asyncio.create_task(work)
    # The body has been read, so the only message that can follow says that the caller left.
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


def _round(milliseconds: float) -> float:
    return round(milliseconds, 2)
