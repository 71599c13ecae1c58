"""How the gallery is set and how far its decisions can be trusted."""

from typing import Annotated

from fastapi import APIRouter, Path

from service import schemas
from service.access import CallerHere, GuardedRoute
from service.errors import GalleryNotServedError
from service.problems import responses
from service.rooms import Rooms, RoomsHere

router = APIRouter(tags=["gallery"], route_class=GuardedRoute)

_GALLERY = "/galleries/{name}"
GalleryName = Annotated[str, Path(description="the gallery that this service serves")]


@router.get(_GALLERY, operation_id="read_gallery", responses=responses(404, 503))
async def read_gallery(rooms: RoomsHere, name: GalleryName) -> schemas.GalleryDetail:
    """Show what the gallery holds, its settings, and its calibration."""
    _require_served(rooms, name)
    return await _detail(rooms)


@router.patch(_GALLERY, operation_id="change_gallery", responses=responses(404, 422, 503))
async def change_gallery(
    rooms: RoomsHere, name: GalleryName, changes: schemas.GalleryChanges
) -> schemas.GalleryDetail:
    """Change some settings, for every process that has the gallery open."""
    _require_served(rooms, name)
    await rooms.ask(rooms.gallery.change_settings, changes.model_dump(exclude_none=True))
    return await _detail(rooms)


@router.post("/calibrate", operation_id="calibrate", responses=responses(409, 422, 503, 507))
async def calibrate(
    rooms: RoomsHere, caller: CallerHere, wanted: schemas.CalibrationWanted
) -> schemas.Calibration:
    """Choose the threshold with the gallery's own samples; it decides from then on.

    It is refused when the gallery has too few subjects to promise the rate: at least 3 / rate.
    """
    measured = await rooms.ask(rooms.gallery.calibrate, wanted.target_fpir, actor=caller.actor)
    return schemas.Calibration.model_validate(measured)


async def _detail(rooms: Rooms) -> schemas.GalleryDetail:
    status, settings, calibration = await rooms.ask(
        lambda: (
            rooms.gallery.status(),
            rooms.gallery.settings(),
            rooms.gallery.calibration(),
        )
    )
    return schemas.GalleryDetail(
        gallery=schemas.Gallery.model_validate(status),
        model=schemas.Model(model_id=status.model_id),
        settings=schemas.GallerySettings.model_validate(settings),
        calibration=None
        if calibration is None
        else schemas.Calibration.model_validate(calibration),
    )


def _require_served(rooms: Rooms, name: str) -> None:
    if name != rooms.settings.gallery:
        raise GalleryNotServedError(
            f"expected the gallery {rooms.settings.gallery!r}, which this service serves, "
            f"got {name!r}"
        )
