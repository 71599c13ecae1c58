"""The enrolled: subjects and samples, to list, to look at, and to erase for good."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query

from service import schemas
from service.access import GuardedRoute
from service.problems import responses
from service.rooms import RoomsHere
from service.sprites import sprite

router = APIRouter(tags=["people"], route_class=GuardedRoute)

# A subject id may hold a slash, so these paths take all that follows.
_SUBJECT = "/subjects/{subject:path}"
SubjectId = Annotated[str, Path(description="the caller's own id of the person")]
SampleId = Annotated[str, Path(description="the id that an enrolment answered")]


@router.get("/subjects", operation_id="list_subjects", responses=responses(422, 503))
async def list_subjects(
    rooms: RoomsHere,
    limit: Annotated[int, Query(ge=1, le=500, description="subjects in a page")] = 50,
    after: Annotated[str | None, Query(description="the last subject of the page before")] = None,
) -> schemas.Subjects:
    """List the subjects in order of their ids, page by page."""
    # One more than asked for tells whether there is a next page.
    found = await rooms.ask(rooms.gallery.subjects, limit=limit + 1, after=after)
    page = found[:limit]
    return schemas.Subjects(
        subjects=tuple(schemas.Subject.model_validate(subject) for subject in page),
        next=page[-1].subject if len(found) > limit else None,
    )


@router.get(_SUBJECT, operation_id="read_subject", responses=responses(404, 422, 503))
async def read_subject(rooms: RoomsHere, subject: SubjectId) -> schemas.SubjectDetail:
    """Show a subject with its samples."""
    detail = await rooms.ask(rooms.gallery.subject, subject)
    return schemas.SubjectDetail(
        subject=detail.subject,
        created_at=detail.created_at,
        samples=tuple(schemas.Sample.of(sample) for sample in detail.samples),
    )


@router.delete(
    _SUBJECT,
    operation_id="erase_subject",
    responses=responses(403, 404, 422, 503),
)
async def erase_subject(rooms: RoomsHere, subject: SubjectId) -> schemas.Erased:
    """Erase a subject with all its samples, silhouettes and embeddings, for good."""
    return schemas.Erased.model_validate(await rooms.ask(rooms.gallery.erase_subject, subject))


@router.delete(
    "/samples/{sample_id}", operation_id="erase_sample", responses=responses(403, 404, 422, 503)
)
async def erase_sample(rooms: RoomsHere, sample_id: SampleId) -> schemas.Erased:
    """Erase one sample for good; its subject stays as long as it has another."""
    return schemas.Erased.model_validate(await rooms.ask(rooms.gallery.erase_sample, sample_id))


@router.get(
    "/samples/{sample_id}/walk", operation_id="read_walk", responses=responses(404, 422, 503)
)
async def read_walk(rooms: RoomsHere, sample_id: SampleId) -> schemas.Picture:
    """Show the enrolled silhouettes of a sample as one picture."""
    silhouettes = await rooms.ask(rooms.gallery.silhouettes, sample_id)
    return await asyncio.to_thread(sprite, silhouettes)
