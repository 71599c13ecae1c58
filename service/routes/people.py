"""The enrolled: subjects and samples, to list, to look at, and to erase for good."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator

from service import schemas
from service.access import CallerHere, GuardedRoute
from service.fields import composed
from service.links import ERASED, FIRST_LISTED, FIRST_SAMPLE
from service.problems import responses
from service.rooms import RoomsHere
from service.sprites import sprite

router = APIRouter(tags=["people"], route_class=GuardedRoute)

# A subject id may hold a slash, so these paths take all that follows.
_SUBJECT = "/subjects/{subject:path}"
SubjectId = Annotated[
    str, Path(description="the caller's own id of the person"), AfterValidator(composed)
]
ReceiptId = Annotated[str, Path(description="the id that an erasure answered")]
SampleId = Annotated[str, Path(description="the id that an enrolment answered")]


@router.get(
    "/subjects",
    operation_id="list_subjects",
    response_description="A page of subjects, each with the number of its samples",
    responses={200: {"links": FIRST_LISTED}, **responses(422, 503)},
)
async def list_subjects(
    rooms: RoomsHere,
    limit: Annotated[int, Query(ge=1, le=500, description="subjects in a page")] = 50,
    after: Annotated[str | None, Query(description="the last subject of the page before")] = None,
    expired: Annotated[bool, Query(description="only those with a consent that expired")] = False,
) -> schemas.Subjects:
    """List the subjects in order of their ids, page by page."""
    # One more than asked for tells whether there is a next page.
    found = await rooms.ask(rooms.gallery.subjects, limit=limit + 1, after=after, expired=expired)
    page = found[:limit]
    return schemas.Subjects(
        subjects=tuple(schemas.Subject.model_validate(subject) for subject in page),
        next=page[-1].subject if len(found) > limit else None,
    )


# Before the path that takes all that follows.
@router.put(
    "/subjects/{subject:path}/consent",
    operation_id="record_consent",
    response_description="The consent as it was recorded",
    responses=responses(403, 404, 422, 503, 507),
)
async def record_consent(
    rooms: RoomsHere, caller: CallerHere, subject: SubjectId, consent: schemas.Consent
) -> schemas.Consent:
    """Record why a subject may be here, in place of what was recorded before."""
    given = consent.of_gallery()
    await rooms.ask(rooms.gallery.set_consent, subject, given, actor=caller.actor)
    return consent


@router.get(
    _SUBJECT,
    operation_id="read_subject",
    response_description="The subject, with a page of its samples, oldest first",
    responses={200: {"links": FIRST_SAMPLE}, **responses(404, 422, 503)},
)
async def read_subject(
    rooms: RoomsHere,
    subject: SubjectId,
    limit: Annotated[int, Query(ge=1, le=500, description="samples in a page")] = 500,
    after: Annotated[
        str | None, Query(description="the last sample of the page before, which is still there")
    ] = None,
) -> schemas.SubjectDetail:
    """Show a subject with its samples, page by page."""
    # One more than asked for tells whether there is a next page.
    detail = await rooms.ask(rooms.gallery.subject, subject, limit=limit + 1, after=after)
    page = detail.samples[:limit]
    return schemas.SubjectDetail(
        subject=detail.subject,
        created_at=detail.created_at,
        consent=None if detail.consent is None else schemas.Consent.model_validate(detail.consent),
        samples=tuple(schemas.Sample.of(sample) for sample in page),
        next=page[-1].sample_id if len(detail.samples) > limit else None,
    )


@router.delete(
    _SUBJECT,
    operation_id="erase_subject",
    response_description="The subject is gone; the receipt says how it was checked",
    responses={200: {"links": ERASED}, **responses(403, 404, 422, 503)},
)
async def erase_subject(rooms: RoomsHere, caller: CallerHere, subject: SubjectId) -> schemas.Erased:
    """Erase a subject with all its samples, silhouettes and embeddings, and prove it."""
    erasure = await rooms.ask(rooms.gallery.erase_subject, subject, actor=caller.actor)
    rooms.answers.clear()
    return schemas.Erased.model_validate(erasure)


@router.delete(
    "/samples/{sample_id}",
    operation_id="erase_sample",
    response_description="The sample is gone; the receipt says how it was checked",
    responses={200: {"links": ERASED}, **responses(403, 404, 422, 503)},
)
async def erase_sample(rooms: RoomsHere, caller: CallerHere, sample_id: SampleId) -> schemas.Erased:
    """Erase one sample for good; its subject stays as long as it has another."""
    erasure = await rooms.ask(rooms.gallery.erase_sample, sample_id, actor=caller.actor)
    rooms.answers.clear()
    return schemas.Erased.model_validate(erasure)


@router.get(
    "/receipts/{receipt_id}",
    operation_id="read_receipt",
    response_description="The receipt, as the erasure answered it",
    responses=responses(404, 503),
)
async def read_receipt(rooms: RoomsHere, receipt_id: ReceiptId) -> schemas.Receipt:
    """Show the receipt of an erasure again; it names nobody."""
    return schemas.Receipt.model_validate(await rooms.ask(rooms.gallery.receipt, receipt_id))


@router.get(
    "/samples/{sample_id}/walk",
    operation_id="read_walk",
    response_description="The frames as they were enrolled, row by row in one picture",
    responses=responses(404, 422, 503),
)
async def read_walk(rooms: RoomsHere, sample_id: SampleId) -> schemas.Picture:
    """Show the enrolled silhouettes of a sample as one picture."""
    silhouettes = await rooms.ask(rooms.gallery.silhouettes, sample_id)
    return await asyncio.to_thread(sprite, silhouettes)
