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
    "description": "Path of the rebuild, to watch its progress.",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference", "examples": ["/jobs/5664bde0b12f4a64"]},
}
JobId = Annotated[str, Path(description="The `job_id` in the answer to `POST /rebuild`.")]


@router.post(
    "/rebuild",
    operation_id="rebuild",
    summary="Move a gallery to another model",
    response_description="The rebuild has begun. Watch it at the path in `Location`.",
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
    """Begin to embed every sample of the gallery again with another model, without a pause.

    Embeddings of different models are never compared, so a new model needs all of them anew. The
    service goes on answering with the old model meanwhile. Once all samples are embedded and
    checked, it moves to the new model by itself. One rebuild runs at a time. It is refused if there
    are samples without silhouettes, or if the model takes silhouettes of another size.
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
    summary="List the latest rebuilds",
    response_description="The latest rebuilds, and how far each has come.",
    responses=responses(503),
)
async def list_jobs(rooms: RoomsHere) -> schemas.Jobs:
    """List the latest rebuilds of the gallery, the last one first."""
    latest = await rooms.ask(rooms.jobs.latest)
    return schemas.Jobs(jobs=tuple(schemas.Job.of(watched) for watched in latest))


@router.get(
    _JOB,
    operation_id="read_job",
    summary="Show a rebuild",
    response_description="How far the rebuild has come, or how it ended.",
    responses=responses(404, 503),
)
async def read_job(rooms: RoomsHere, job_id: JobId) -> schemas.Job:
    """Show how far a rebuild has come, or how it ended."""
    return schemas.Job.of(await rooms.ask(rooms.jobs.get, job_id))


@router.delete(
    _JOB,
    operation_id="cancel_job",
    summary="Stop a rebuild",
    response_description="The rebuild stops soon, unless it had ended before.",
    status_code=202,
    responses=responses(404, 409, 503, 507),
)
async def cancel_job(rooms: RoomsHere, job_id: JobId) -> schemas.Job:
    """Stop a rebuild after the batch in work. The gallery stays with the model that it has.

    What is embedded is kept, and a later rebuild to the same model continues from there. Once the
    move to the new model has begun it can no longer be stopped: 409 `rebuild_refused`.
    """
    return schemas.Job.of(await rooms.ask(rooms.jobs.cancel, job_id))
