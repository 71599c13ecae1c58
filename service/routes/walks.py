"""Walks in, names out: enroll, identify, verify, and a preview of what the model will see."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import IO, Any, NamedTuple

from fastapi import APIRouter, Response

from gallery import Consent, Enrolment, check_particulars, view_of
from service import schemas
from service.access import GuardedRoute
from service.arrivals import Arrival, ArrivalHere
from service.errors import InvalidFieldError, MissingScopeError, PoorQualityError
from service.fields import (
    DEFAULT_LIMIT,
    captured_at_of,
    consent_of,
    force_of,
    limit_of,
    metadata_of,
    subject_of,
)
from service.forms import ENROLMENT, LIMIT, VIEW, batch_body, walk_body
from service.links import ENROLLED
from service.probes import Probe, judged, searched, unless_gone, with_probe
from service.problems import answer_to, responses
from service.rooms import Rooms, RoomsHere, UploadHere
from service.sprites import sprite
from service.uploads import Upload

router = APIRouter(tags=["walks"], route_class=GuardedRoute)

MAX_BATCH = 64
"""Walks in one batch."""
# Of a batch, so many are decoded and embedded at a time; single walks come in between.
_AT_A_TIME = 4
_PROBLEMS = responses(400, 403, 408, 413, 415, 422, 503)


@router.post(
    "/enroll",
    operation_id="enroll",
    summary="Enrol a walk",
    response_description="The walk is enrolled under `sample_id`.",
    status_code=201,
    responses={
        200: {
            "model": schemas.Enrolled,
            "description": "This walk of this subject was enrolled before. No sample is added; "
            "silhouettes that were not kept then are kept now, if the gallery keeps any.",
            "links": ENROLLED,
        },
        201: {"links": ENROLLED},
        **_PROBLEMS,
        **responses(409, 507),
    },
    openapi_extra=walk_body("subject", **ENROLMENT),
)
async def enroll(arrived: ArrivalHere, response: Response) -> schemas.Enrolled:
    """Store a walk of a person, so that later walks of this person are recognised.

    Enrol each person from several sides, in what they usually wear, two or three walks each. When
    you get the answer, the sample is on disk and searches find it. A walk of poor quality is
    refused with a 422 `poor_quality` and the reasons, because it would be found too often or never.

    Enrolling the same walk of the same subject again answers 200 with `"duplicate": true` and adds
    no sample. Silhouettes that were not kept the first time are kept now, if the gallery keeps any.
    """

    new = _new(arrived)

    async def work() -> schemas.Enrolled:
        return await _enroll(arrived, new)

    enrolled = await arrived.once.upload(arrived.upload, schemas.Enrolled, work)
    response.status_code = 200 if enrolled.duplicate else 201
    return enrolled


@router.post(
    "/identify",
    operation_id="identify",
    summary="Find out who is walking",
    response_description="The decision, and the nearest subjects, nearest first.",
    responses={**_PROBLEMS, **responses(409)},
    openapi_extra=walk_body(limit=LIMIT, metadata=VIEW),
)
async def identify(arrived: ArrivalHere) -> schemas.Identified:
    """Find the subjects nearest to a walk, and decide whether the nearest one is near enough.

    Nothing of the walk is stored. The `decision` is about the first of the `candidates`: `match`,
    `no_match`, or `inconclusive` with one or more of these `reasons`:

    `NEAR_THRESHOLD`: the nearest subject is near, but not near enough. Let a person compare the
    walks, enrol more views of the people you expect, or calibrate.

    `SEVERAL_SUBJECTS`: two subjects are near enough, and about equally near. Mostly it is one
    person, or one walk, enrolled under two names.

    `NO_THRESHOLD`: the gallery has no calibration that holds, and the model file no default.

    `TOO_FEW_FRAMES`, `EMPTY_SILHOUETTE`, `TRUNCATED_BODY`, `LOW_RESOLUTION`, `MULTIPLE_BODIES`,
    `NOT_BINARY`, `DUPLICATE_FRAMES`, `NO_PERIODICITY`: the walk is too poor to decide about.
    `/preview` shows it as the model sees it.
    """
    wanted = _wanted(arrived)

    async def work() -> schemas.Identified:
        return await _identify(arrived, wanted)

    return await arrived.once.upload(arrived.upload, schemas.Identified, work)


@router.post(
    "/identify/batch",
    operation_id="identify_batch",
    summary="Identify up to 64 walks",
    response_description="One item for each walk, in the order sent: `identified` or `problem`.",
    responses={**_PROBLEMS, **responses(409)},
    openapi_extra=batch_body(limit=LIMIT, metadata=f"{VIEW} It holds for every walk of the batch."),
)
async def identify_batch(arrived: ArrivalHere) -> schemas.IdentifiedBatch:
    """Identify several walks in one call, each as `/identify` does.

    Send 1 to 64 files `sequence` in one form. The answer has one item for each walk, in the same
    order. If a walk cannot be used, its item has a `problem`, and the others are answered all the
    same.
    """
    wanted, upload = _wanted(arrived), arrived.upload
    files = (upload.sequence, *upload.more) if upload.sequence is not None else ()
    if upload.frames or not 1 <= len(files) <= MAX_BATCH:
        raise InvalidFieldError(f"expected 1 to {MAX_BATCH} files `sequence`, got {len(files)}")

    async def work() -> schemas.IdentifiedBatch:
        # The key was admitted as for one walk, before it was known how many there are.
        arrived.rooms.keys.charge(arrived.caller, len(files) - 1)
        return await _identify_each(arrived, files, wanted)

    # Sent again, a batch of which a walk found no room, or us at fault, has another try.
    return await arrived.once.upload(
        upload, schemas.IdentifiedBatch, work, keep=lambda batch: not batch.may_be_asked_again
    )


@router.post(
    "/verify",
    operation_id="verify",
    summary="Check whether a walk is of one subject",
    response_description="The decision, and the distance to the subject.",
    responses={**_PROBLEMS, **responses(404, 409)},
    openapi_extra=walk_body(
        "subject", subject="Your id of the person whose walk it is said to be.", metadata=VIEW
    ),
)
async def verify(arrived: ArrivalHere) -> schemas.Verified:
    """Compare a walk with the samples of one subject, and decide whether they are near enough.

    Use it when somebody says who they are. Nothing of the walk is stored, and nobody else is
    compared. A subject that is not enrolled is a 404 `subject_not_found`.
    """
    subject, view = subject_of(arrived.upload.fields), _view(arrived.upload)

    # Asked again with the walk, but who is not enrolled need not wait for it.
    await arrived.rooms.ask(arrived.rooms.gallery.require_subject, subject)

    async def verified(rooms: Rooms, probe: Probe) -> schemas.Verified:
        return await _verified(rooms, probe, subject, view, arrived.caller.actor)

    async def work() -> schemas.Verified:
        return await with_probe(arrived, verified)

    return await arrived.once.upload(arrived.upload, schemas.Verified, work)


@router.post(
    "/preview",
    operation_id="preview",
    summary="Show a walk as the model sees it",
    response_description="The walk as the model sees it, in one picture, and how good it is.",
    responses=_PROBLEMS,
    openapi_extra=walk_body(),
)
async def preview(rooms: RoomsHere, upload: UploadHere) -> schemas.Preview:
    """Show a walk as the model sees it: the body found, cropped and centred, and how good it is.

    Use it to find out why a walk is refused or not recognised. Nothing is stored or embedded.
    """
    aligned = await rooms.align(upload)
    picture = await asyncio.to_thread(sprite, aligned.walk.silhouettes)
    quality = schemas.Quality.model_validate(aligned.quality)
    return schemas.Preview(**picture.model_dump(), quality=quality)


class _Wanted(NamedTuple):
    """What an identification is asked to say."""

    limit: int
    view: float | None
    actor: str


def _wanted(arrived: Arrival) -> _Wanted:
    limit = limit_of(arrived.upload.fields) or DEFAULT_LIMIT
    return _Wanted(limit, _view(arrived.upload), arrived.caller.actor)


def _view(upload: Upload) -> float | None:
    return view_of(metadata_of(upload.fields) or {})


class _New(NamedTuple):
    """What an enrolment says beside its walk."""

    subject: str
    metadata: dict[str, Any] | None
    captured_at: datetime | None
    consent: Consent | None
    force: bool
    actor: str


def _new(arrived: Arrival) -> _New:
    """Read and judge the fields of an enrolment, before its walk is decoded."""
    fields, caller = arrived.upload.fields, arrived.caller
    new = _New(
        subject=subject_of(fields),
        metadata=metadata_of(fields),
        captured_at=captured_at_of(fields),
        consent=consent_of(fields),
        force=force_of(fields),
        actor=caller.actor,
    )
    check_particulars(
        new.subject, metadata=new.metadata, captured_at=new.captured_at, consent=new.consent
    )
    if new.force and not caller.may("review"):
        raise MissingScopeError("expected a key with the scope `review` for `force`, got another")
    return new


async def _enroll(arrived: Arrival, new: _New) -> schemas.Enrolled:
    async def known(rooms: Rooms, probe: Probe) -> schemas.Enrolled | None:
        if probe.aligned.quality.faults and not new.force:
            raise PoorQualityError(probe.aligned.quality.faults)
        gallery, walk, started = rooms.gallery, probe.aligned.walk, time.perf_counter()
        enrolment = await rooms.ask(
            gallery.enrolled_before,
            new.subject,
            walk.silhouettes,
            consent=new.consent,
            actor=new.actor,
        )
        return None if enrolment is None else await _enrolled(rooms, probe, enrolment, started)

    async def enrolled(rooms: Rooms, probe: Probe) -> schemas.Enrolled:
        started = time.perf_counter()
        enrolment = await rooms.ask(
            rooms.gallery.enroll,
            new.subject,
            probe.speaker.embedding,
            silhouettes=probe.aligned.walk.silhouettes,
            metadata=new.metadata,
            captured_at=new.captured_at,
            consent=new.consent,
            actor=new.actor,
        )
        return await _enrolled(rooms, probe, enrolment, started)

    # Whole, not in windows: a rebuild embeds what is stored whole as well.
    return await with_probe(arrived, enrolled, before=known, in_windows=False)


async def _enrolled(
    rooms: Rooms, probe: Probe, enrolment: Enrolment, started: float
) -> schemas.Enrolled:
    search_ms = (time.perf_counter() - started) * 1000
    size = await rooms.ask(rooms.gallery.size)
    return schemas.Enrolled(
        subject=enrolment.sample.subject,
        sample_id=enrolment.sample.sample_id,
        duplicate=enrolment.duplicate,
        conflict=schemas.Conflict.of(enrolment.conflict),
        frames=schemas.Frames.of(probe.aligned.walk.report),
        quality=schemas.Quality.model_validate(probe.aligned.quality),
        model=schemas.Model(model_id=rooms.encoder.facts.model_id),
        gallery=schemas.Gallery.model_validate(size),
        timings_ms=probe.timings(search_ms),
    )


async def _identify(arrived: Arrival, wanted: _Wanted) -> schemas.Identified:
    async def identified(rooms: Rooms, probe: Probe) -> schemas.Identified:
        found = await searched(
            rooms,
            probe,
            # The second nearest is looked for in any case, to tell the margin.
            lambda moment, one: moment.identify(one, limit=max(2, wanted.limit)),
            wanted.view,
        )
        answer, shown = judged(rooms, probe, found), found.shown(wanted.limit)
        rooms.gallery.note_search(
            "identify",
            answer["decision"],
            actor=wanted.actor,
            subject=shown[0].subject if answer["decision"] == "match" else None,
            candidates=len(shown),
        )
        return schemas.Identified(candidates=shown, margin=found.margin, **answer)

    return await with_probe(arrived, identified)


async def _identify_each(
    arrived: Arrival, files: Sequence[IO[bytes]], wanted: _Wanted
) -> schemas.IdentifiedBatch:
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def one(file: IO[bytes]) -> schemas.BatchItem:
        async with turns:
            try:
                found = await _identify(arrived.part(file), wanted)
            except Exception as error:
                # Each walk answers for itself; a fault of ours is a problem 500 of this walk.
                return schemas.BatchItem(identified=None, problem=answer_to(error).problem)
            return schemas.BatchItem(identified=found, problem=None)

    async def each() -> list[schemas.BatchItem]:
        return await asyncio.gather(*(one(file) for file in files))

    with arrived.rooms.admission.several(min(len(files), _AT_A_TIME)):
        items = await unless_gone(arrived.request, each())
    return schemas.IdentifiedBatch(items=tuple(items))


async def _verified(
    rooms: Rooms, probe: Probe, subject: str, view: float | None, actor: str
) -> schemas.Verified:
    found = await searched(rooms, probe, lambda now, one: (now.verify(subject, one),), view)
    (candidate,) = found.shown(1)
    answer = judged(rooms, probe, found)
    rooms.gallery.note_search(
        "verify", answer["decision"], actor=actor, subject=subject, candidates=1
    )
    return schemas.Verified(
        subject=candidate.subject,
        distance=candidate.distance,
        sample_id=candidate.sample_id,
        view=candidate.view,
        **answer,
    )
