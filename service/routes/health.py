"""How the service is: alive, ready, and what it runs."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter

from gallery import GalleryStatus
from service import schemas
from service.access import GuardedRoute
from service.errors import NotReadyError
from service.problems import responses
from service.rooms import OwnRooms, Rooms, RoomsHere

router = APIRouter(tags=["health"], route_class=GuardedRoute)


def installed_version() -> str:
    """Version of the installed distribution; `0` in a tree that was never installed."""
    try:
        return version("metagait")
    except PackageNotFoundError:
        return "0"


@router.get(
    "/livez",
    operation_id="livez",
    summary="Is the process alive?",
    response_description="The process is alive.",
    responses=responses(),
)
async def livez() -> schemas.Alive:
    """Answer 200 as long as the process runs. One that does not answer should be restarted."""
    return schemas.Alive()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Can requests be sent here?",
    response_description="Walks are accepted, and everybody who is enrolled can be found.",
    responses=responses(503),
)
async def readyz(rooms: OwnRooms) -> schemas.Ready:
    """Answer 200 only while walks are accepted and the index holds everybody who is enrolled.

    A load balancer should send requests only while it does. It reports on the service's own gallery
    only, so that another one that cannot answer does not take the service away from everybody;
    `/metrics` reports on each. No key is needed, so it does not tell how many are enrolled.
    """
    check_service(rooms)
    status = await rooms.ask(rooms.gallery.status)
    check_gallery(rooms, status)
    return schemas.Ready()


def check_service(rooms: Rooms) -> None:
    """See that walks are worked on here; raises NotReadyError, which says why they are not."""
    if rooms.draining.begun:
        raise NotReadyError("expected a running service, got one that is stopping")
    if not rooms.batcher.running:
        raise NotReadyError(
            "expected the encoder to take walks, got one that is starting or has stopped"
        )


def check_gallery(rooms: Rooms, status: GalleryStatus) -> None:
    """See that a gallery can be searched; raises NotReadyError, which says why it cannot."""
    if status.model_id != rooms.encoder.facts.model_id:
        raise NotReadyError(
            f"expected a gallery embedded by {rooms.encoder.facts.model_id}, got one by "
            f"{status.model_id}: run `metagait rebuild`"
        )
    if not status.in_sync:
        raise NotReadyError(
            "expected an index that holds what the store holds, got one that does not yet"
        )


@router.get(
    "/info",
    operation_id="info",
    summary="Show the model, the gallery and the limits",
    response_description="The model, the gallery, the threshold, and the limits of an upload.",
    responses=responses(503),
)
async def info(rooms: RoomsHere) -> schemas.Info:
    """Show which model runs and on what, the gallery, its threshold, and the limits of uploads."""
    status = await rooms.ask(rooms.gallery.status)
    settings = await rooms.ask(rooms.gallery.settings)
    calibration = await rooms.ask(rooms.gallery.calibration)
    threshold = rooms.threshold(calibration, settings, status.subjects)
    return schemas.Info(
        version=installed_version(),
        engine=rooms.encoder.runtime.engine,
        provider=rooms.encoder.runtime.provider,
        precision=rooms.encoder.runtime.precision,
        threads=rooms.encoder.runtime.threads,
        model=_model_facts(rooms),
        threshold=schemas.Threshold.of(threshold),
        gallery=schemas.KeptGallery.model_validate(status),
        index=schemas.Index(kind=status.index_kind, state=status.index_state),
        limits=schemas.UploadLimits(
            upload_bytes=rooms.limits.upload_bytes,
            frames=rooms.limits.frames,
            min_frames=rooms.settings.min_frames,
            conclusive_frames=rooms.settings.conclusive_frames,
            frame_pixels=rooms.limits.frame_pixels,
            walk_pixels=rooms.limits.walk_pixels,
        ),
    )


def _model_facts(rooms: Rooms) -> schemas.ModelFacts:
    facts = rooms.encoder.facts
    height, width = facts.size
    training = facts.training
    return schemas.ModelFacts(
        model_id=facts.model_id,
        name=facts.name,
        height=height,
        width=width,
        parts=facts.parts,
        dimensions=facts.dimensions,
        preprocessing_id=facts.preprocessing_id,
        training=None if training is None else schemas.Training.model_validate(training),
    )
