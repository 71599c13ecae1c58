"""Walks in, names out: enroll, identify, verify, and a preview of what the model will see."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from gallery import Candidate, Enrolment, GalleryStatus, relation, view_of
from service import schemas
from service.access import CallerHere, GuardedRoute
from service.batcher import Encoded
from service.decision import Threshold, decide
from service.fields import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    captured_at_of,
    consent_of,
    limit_of,
    metadata_of,
    subject_of,
)
from service.problems import responses
from service.rooms import AlignedWalk, Rooms, RoomsHere, UploadHere
from service.serving import Serving, ServingHere
from service.sprites import sprite
from service.uploads import Upload

router = APIRouter(tags=["walks"], route_class=GuardedRoute)
R = TypeVar("R")

_PROBLEMS = responses(400, 403, 408, 413, 415, 422, 503)


def _form(*required: str, **texts: str) -> dict[str, Any]:
    """Describe a multipart form: a walk, and text fields by name and description."""
    picture_file = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {
        "sequence": {
            **picture_file,
            "description": "one file: a .zip of PNG or JPEG frames (natural order of names), or a "
            ".npy or .npz array of uint8 or bool [frames, height, width]",
        },
        "frames": {
            "type": "array",
            "items": picture_file,
            "description": "instead of `sequence`: PNG or JPEG pictures, in order",
        },
        **{name: {"type": "string", "description": words} for name, words in texts.items()},
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


@dataclass(frozen=True)
class _Probe:
    """A walk with its embedding, and when its request began to be worked on."""

    aligned: AlignedWalk
    encoded: Encoded
    started: float

    def timings(self, search_ms: float) -> schemas.Timings:
        return schemas.Timings(
            decode=_round(self.aligned.decode_ms),
            align=_round(self.aligned.align_ms),
            queue=_round(self.encoded.queue_ms),
            encode=_round(self.encoded.encode_ms),
            search=_round(search_ms),
            total=_round((time.perf_counter() - self.started) * 1000),
        )


@dataclass(frozen=True)
class _Found:
    """What a search found, and what has to be said about it."""

    candidates: tuple[Candidate, ...]
    status: GalleryStatus
    threshold: Threshold | None
    view: float | None
    views: Mapping[str, float]
    search_ms: float

    @property
    def margin(self) -> float | None:
        """From the nearest subject's distance to the next one's."""
        if len(self.candidates) < 2:
            return None
        return self.candidates[1].distance - self.candidates[0].distance

    def shown(self, count: int) -> tuple[schemas.Candidate, ...]:
        """The first candidates, each with how its view relates to the probe's."""
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


@router.post(
    "/enroll",
    operation_id="enroll",
    status_code=201,
    responses={
        200: {"model": schemas.Enrolled, "description": "This very walk was enrolled before"},
        **_PROBLEMS,
        **responses(409, 507),
    },
    openapi_extra=_form(
        "subject",
        subject="the caller's own id of the person; created when new",
        metadata="a JSON object kept with the sample, for instance view and condition",
        captured_at="when the walk was recorded: ISO 8601 with a time zone",
        consent="a JSON object: `basis`, and optionally `reference` and `expires`",
    ),
)
async def enroll(
    serving: ServingHere,
    rooms: RoomsHere,
    caller: CallerHere,
    upload: UploadHere,
    *,
    request: Request,
    response: Response,
) -> schemas.Enrolled:
    """Enrol a walk. The sample is on disk and found by searches when the answer is given."""
    subject, metadata = subject_of(upload.fields), metadata_of(upload.fields)
    captured_at, consent = captured_at_of(upload.fields), consent_of(upload.fields)

    async def enrolled(rooms: Rooms, probe: _Probe) -> schemas.Enrolled:
        started = time.perf_counter()
        enrolment = await rooms.ask(
            rooms.gallery.enroll,
            subject,
            probe.encoded.embedding,
            silhouettes=probe.aligned.walk.silhouettes,
            metadata=metadata,
            captured_at=captured_at,
            consent=consent,
            actor=caller.actor,
        )
        search_ms = (time.perf_counter() - started) * 1000
        response.status_code = 200 if enrolment.duplicate else 201
        return await _enrolled(rooms, probe, enrolment, search_ms)

    return await _with_probe(serving, rooms, upload, request, enrolled)


async def _enrolled(
    rooms: Rooms, probe: _Probe, enrolment: Enrolment, search_ms: float
) -> schemas.Enrolled:
    status = await rooms.ask(rooms.gallery.status)
    return schemas.Enrolled(
        subject=enrolment.sample.subject,
        sample_id=enrolment.sample.sample_id,
        duplicate=enrolment.duplicate,
        conflict=schemas.Conflict.of(enrolment.conflict),
        frames=schemas.Frames.of(probe.aligned.walk.report),
        model=schemas.Model(model_id=rooms.encoder.facts.model_id),
        gallery=schemas.Gallery.model_validate(status),
        timings_ms=probe.timings(search_ms),
    )


@router.post(
    "/identify",
    operation_id="identify",
    responses={**_PROBLEMS, **responses(409)},
    openapi_extra=_form(
        limit=f"how many candidates, 1 to {MAX_LIMIT}; default {DEFAULT_LIMIT}",
        metadata="a JSON object; its `view`, in degrees, is compared with the candidates' views",
    ),
)
async def identify(
    serving: ServingHere,
    rooms: RoomsHere,
    caller: CallerHere,
    upload: UploadHere,
    *,
    request: Request,
    limit: Annotated[int | None, Query(ge=1, le=MAX_LIMIT)] = None,
) -> schemas.Identified:
    """Find the nearest subjects to a walk, and say whether the nearest is near enough."""
    wanted = limit_of(upload.fields) or limit or DEFAULT_LIMIT
    view = view_of(metadata_of(upload.fields) or {})

    async def identified(rooms: Rooms, probe: _Probe) -> schemas.Identified:
        found = await _search(
            rooms,
            # The second nearest is looked for in any case, to tell the margin.
            lambda: rooms.gallery.identify(probe.encoded.embedding, limit=max(2, wanted)),
            view,
        )
        judged = _judged(rooms, probe, found)
        shown = found.shown(wanted)
        rooms.gallery.note_search(
            "identify",
            judged["decision"],
            actor=caller.actor,
            subject=shown[0].subject if judged["decision"] == "match" else None,
            candidates=len(shown),
        )
        return schemas.Identified(candidates=shown, margin=found.margin, **judged)

    return await _with_probe(serving, rooms, upload, request, identified)


@router.post(
    "/verify",
    operation_id="verify",
    responses={**_PROBLEMS, **responses(404, 409)},
    openapi_extra=_form(
        "subject",
        subject="whose walk it is claimed to be",
        metadata="a JSON object; its `view`, in degrees, is compared with the nearest sample's",
    ),
)
async def verify(
    serving: ServingHere,
    rooms: RoomsHere,
    caller: CallerHere,
    upload: UploadHere,
    request: Request,
) -> schemas.Verified:
    """Compare a walk with one subject's samples."""
    subject = subject_of(upload.fields)

    view = view_of(metadata_of(upload.fields) or {})

    async def verified(rooms: Rooms, probe: _Probe) -> schemas.Verified:
        found = await _search(
            rooms, lambda: (rooms.gallery.verify(subject, probe.encoded.embedding),), view
        )
        (candidate,) = found.shown(1)
        judged = _judged(rooms, probe, found)
        rooms.gallery.note_search(
            "verify", judged["decision"], actor=caller.actor, subject=subject, candidates=1
        )
        return schemas.Verified(
            subject=candidate.subject,
            distance=candidate.distance,
            sample_id=candidate.sample_id,
            view=candidate.view,
            **judged,
        )

    return await _with_probe(serving, rooms, upload, request, verified)


@router.post("/preview", operation_id="preview", responses=_PROBLEMS, openapi_extra=_form())
async def preview(rooms: RoomsHere, upload: UploadHere) -> schemas.Picture:
    """Show a walk as the model will see it; nothing is stored or embedded."""
    aligned = await rooms.align(upload)
    return await asyncio.to_thread(sprite, aligned.walk.silhouettes)


async def _search(
    rooms: Rooms, search: Callable[[], tuple[Candidate, ...]], view: float | None
) -> _Found:
    """Search in a gallery thread, and look up there what the answer says beside the candidates."""

    def found() -> _Found:
        started = time.perf_counter()
        candidates = search()
        search_ms = (time.perf_counter() - started) * 1000
        status = rooms.gallery.status()
        ids = [] if view is None else [one.sample_id for one in candidates]
        views = rooms.gallery.views(ids) if ids else {}
        threshold = rooms.threshold(status.subjects)
        return _Found(candidates, status, threshold, view, views, search_ms)

    return await rooms.ask(found)


def _judged(rooms: Rooms, probe: _Probe, found: _Found) -> dict[str, Any]:
    """Build what identify and verify answer alike."""
    report = probe.aligned.walk.report
    decision = decide(
        found.candidates,
        found.threshold,
        frames=report.used,
        conclusive_frames=rooms.settings.conclusive_frames,
    )
    rooms.metrics.decided(decision.answer, decision.reasons)
    return {
        "decision": decision.answer,
        "reasons": decision.reasons,
        "threshold": schemas.Threshold.of(found.threshold),
        "frames": schemas.Frames.of(report),
        "model": schemas.Model(model_id=rooms.encoder.facts.model_id),
        "gallery": schemas.Gallery.model_validate(found.status),
        "timings_ms": probe.timings(found.search_ms),
    }


async def _with_probe(
    serving: Serving,
    rooms: Rooms,
    upload: Upload,
    request: Request,
    finish: Callable[[Rooms, _Probe], Awaitable[R]],
) -> R:
    """Align a walk, embed it, and finish with its embedding: both by one and the same model."""
    started = time.perf_counter()
    aligned = await _unless_gone(request, rooms.align(upload))

    async def embedded(rooms: Rooms) -> R:
        encoded = await _unless_gone(request, rooms.batcher.embed(aligned.walk.silhouettes))
        return await finish(rooms, _Probe(aligned, encoded, started))

    return await serving.with_one_model(rooms, embedded)


async def _unless_gone(request: Request, work: Awaitable[R]) -> R:
    """Await work, but cancel it when the caller hangs up: nobody would read the answer."""
    task = asyncio.ensure_future(work)
    # The body has been read to its end, so the next message is that the caller left.
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
