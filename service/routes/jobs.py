"""Rebuilding the gallery with another model, while the service answers."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Response

from service import schemas
from service.access import CallerHere, GuardedRoute
from service.links import JOB
from service.once import OnceHere
from service.problems import responses
from service.rooms import GalleryName, RoomsHere

router = APIRouter(tags=["gallery"], route_class=GuardedRoute)

_JOB = "/jobs/{job_id}"
_LOCATION = {
    "description": "where to see how the rebuild stands",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference", "examples": ["/jobs/5664bde0b12f4a64"]},
}
JobId = Annotated[str, Path(description="the id that `POST /rebuild` answered")]


@router.post(
    "/rebuild",
    operation_id="rebuild",
    response_description="The rebuild has begun; `Location` says where to see how it stands",
    status_code=202,
    responses={
        202: {"links": JOB, "headers": {"Location": _LOCATION}},
        **responses(404, 409, 422, 503, 507),
    },
)
async def rebuild(
    *,
    rooms: RoomsHere,
    caller: CallerHere,
    wanted: schemas.RebuildWanted,
    once: OnceHere,
    response: Response,
    gallery: GalleryName = None,
) -> schemas.Job:
    """Begin to embed every sample with another model, beside the generation that answers.

    When all are embedded and checked the service moves to the new generation by itself.
    """

    async def work() -> schemas.Job:
        return schemas.Job.of(await rooms.ask(rooms.jobs.start, wanted.model, caller.actor))

    job = await once.words(wanted, schemas.Job, work)
    # The service's own gallery may have any name, and a header holds less than that.
    query = "" if gallery is None else f"?gallery={quote(gallery, safe='')}"
    response.headers["Location"] = f"/jobs/{job.job_id}{query}"
    return job


@router.get(
    "/jobs",
    operation_id="list_jobs",
    response_description="The latest rebuilds, and how far each has come",
    responses=responses(503),
)
async def list_jobs(rooms: RoomsHere) -> schemas.Jobs:
    """List the latest rebuilds, the last one first."""
    latest = await rooms.ask(rooms.jobs.latest)
    return schemas.Jobs(jobs=tuple(schemas.Job.of(watched) for watched in latest))


@router.get(
    _JOB,
    operation_id="read_job",
    response_description="How far it has come, and what ended it, if anything did",
    responses=responses(404, 503),
)
async def read_job(rooms: RoomsHere, job_id: JobId) -> schemas.Job:
    """Show how a rebuild stands."""
    return schemas.Job.of(await rooms.ask(rooms.jobs.get, job_id))


@router.delete(
    _JOB,
    operation_id="cancel_job",
    response_description="How it stands: it stops soon, unless it was done before",
    status_code=202,
    responses=responses(404, 409, 503, 507),
)
async def cancel_job(rooms: RoomsHere, job_id: JobId) -> schemas.Job:
    """Stop a rebuild after the batch that it is at; what it embedded is kept for a later one.

    It does not switch then; once the switch has begun, the answer is a 409 `rebuild_refused`.
    """
    return schemas.Job.of(await rooms.ask(rooms.jobs.cancel, job_id))
