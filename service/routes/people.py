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
from service.rooms import Rooms, RoomsHere
from service.sprites import sprite

router = APIRouter(tags=["people"], route_class=GuardedRoute)

# A subject id may hold a slash, so these paths take all that follows.
_SUBJECT = "/subjects/{subject:path}"
SubjectId = Annotated[str, Path(description="Your id of the person."), AfterValidator(composed)]
ReceiptId = Annotated[str, Path(description="The `receipt_id` in the answer to an erasure.")]
SampleId = Annotated[str, Path(description="The `sample_id` in the answer to an enrolment.")]


@router.get(
    "/subjects",
    operation_id="list_subjects",
    summary="List the enrolled people",
    response_description="A page of subjects, each with the number of its samples.",
    responses={200: {"links": FIRST_LISTED}, **responses(422, 503)},
)
async def list_subjects(
    rooms: RoomsHere,
    limit: Annotated[int, Query(ge=1, le=500, description="Most subjects in a page.")] = 50,
    after: Annotated[
        str | None, Query(description="The `next` of the page before; leave it out for the first.")
    ] = None,
    expired: Annotated[
        bool, Query(description="`true` lists only subjects with a consent that has expired.")
    ] = False,
    search: Annotated[
        str | None,
        Query(
            max_length=512,
            description="A part of the id, whatever its case and accents: `mul` finds `Anna "
            "Müller`. Every character stands for itself.",
        ),
    ] = None,
) -> schemas.Subjects:
    """List the enrolled people in the order of their ids, page by page.

    With `search`, only those whose id contains a text. Only so many ids are compared for one
    page. So a page may hold fewer than `limit` subjects, or none, and still have a `next`: go on
    until that is null.
    """
    if search:
        wanted = rooms.gallery.find_subjects
        found = await rooms.ask(wanted, search, limit=limit, after=after, expired=expired)
        return schemas.Subjects.model_validate(found)
    return await _page_of_all(rooms, limit, after, expired)


async def _page_of_all(
    rooms: Rooms, limit: int, after: str | None, expired: bool
) -> schemas.Subjects:
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
    summary="Record the consent of a subject",
    response_description="The consent as it is recorded now.",
    responses=responses(403, 404, 422, 503, 507),
)
async def record_consent(
    rooms: RoomsHere, caller: CallerHere, subject: SubjectId, consent: schemas.ConsentWanted
) -> schemas.Consent:
    """Record why this person may be in the gallery. It replaces what was recorded before.

    Nothing is erased by itself when a consent expires. `GET /subjects?expired=true` lists the
    subjects whose consent has.
    """
    given = consent.of_gallery()
    await rooms.ask(rooms.gallery.set_consent, subject, given, actor=caller.actor)
    return consent


@router.get(
    _SUBJECT,
    operation_id="read_subject",
    summary="Show a person with their samples",
    response_description="The subject, with a page of its samples, oldest first.",
    responses={200: {"links": FIRST_SAMPLE}, **responses(404, 422, 503)},
)
async def read_subject(
    rooms: RoomsHere,
    subject: SubjectId,
    limit: Annotated[int, Query(ge=1, le=500, description="Most samples in a page.")] = 500,
    after: Annotated[
        str | None,
        Query(
            description="The `next` of the page before; leave it out for the first. The sample "
            "must still be enrolled."
        ),
    ] = None,
) -> schemas.SubjectDetail:
    """Show what is stored about a person: the consent and the samples, page by page."""
    # One more than asked for tells whether there is a next page.
    detail = await rooms.ask(rooms.gallery.subject, subject, limit=limit + 1, after=after)
    page = detail.samples[:limit]
    return schemas.SubjectDetail(
        subject=detail.subject,
        created_at=detail.created_at,
        consent=None if detail.consent is None else schemas.Consent.model_validate(detail.consent),
        damaged=detail.damaged,
        samples=tuple(schemas.Sample.of(sample) for sample in page),
        next=page[-1].sample_id if len(detail.samples) > limit else None,
    )


@router.delete(
    _SUBJECT,
    operation_id="erase_subject",
    summary="Erase a person",
    response_description="The person is erased. The receipt says how that was checked.",
    responses={200: {"links": ERASED}, **responses(403, 404, 422, 503)},
)
async def erase_subject(rooms: RoomsHere, caller: CallerHere, subject: SubjectId) -> schemas.Erased:
    """Erase a person for good, with all samples, silhouettes, embeddings and consents.

    The data are removed from every generation, from the index and from the database files, and are
    then looked for; the answer is the receipt. Keep the answer: its `salt` is told only once, and
    shows whose receipt it is. Backups that hold the person have to be deleted by hand.
    """
    erasure = await rooms.ask(rooms.gallery.erase_subject, subject, actor=caller.actor)
    rooms.answers.clear()
    return schemas.Erased.model_validate(erasure)


@router.delete(
    "/samples/{sample_id}",
    operation_id="erase_sample",
    summary="Erase one sample",
    response_description="The sample is erased. The receipt says how that was checked.",
    responses={200: {"links": ERASED}, **responses(403, 404, 422, 503)},
)
async def erase_sample(rooms: RoomsHere, caller: CallerHere, sample_id: SampleId) -> schemas.Erased:
    """Erase one walk of a person for good, as `DELETE /subjects/{subject}` does it for all.

    The person stays enrolled if there are other samples, and is erased with the last one.
    """
    erasure = await rooms.ask(rooms.gallery.erase_sample, sample_id, actor=caller.actor)
    rooms.answers.clear()
    return schemas.Erased.model_validate(erasure)


@router.get(
    "/receipts/{receipt_id}",
    operation_id="read_receipt",
    summary="Show the receipt of an erasure",
    response_description="The receipt, as it was in the answer to the erasure.",
    responses=responses(404, 503),
)
async def read_receipt(rooms: RoomsHere, receipt_id: ReceiptId) -> schemas.Receipt:
    """Show the receipt of an erasure again. It names nobody, and the salt is not in it."""
    return schemas.Receipt.model_validate(await rooms.ask(rooms.gallery.receipt, receipt_id))


@router.get(
    "/samples/{sample_id}/walk",
    operation_id="read_walk",
    summary="Show the silhouettes of a sample",
    response_description="The silhouettes that were enrolled, in one picture.",
    responses=responses(404, 422, 503),
)
async def read_walk(rooms: RoomsHere, sample_id: SampleId) -> schemas.Picture:
    """Show the silhouettes of a sample as one picture.

    A sample that was stored without silhouettes is a 404 `silhouettes_not_kept`.
    """
    silhouettes = await rooms.ask(rooms.gallery.silhouettes, sample_id)
    return await asyncio.to_thread(sprite, silhouettes)
