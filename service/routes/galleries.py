"""The galleries of the store: how each is set, and how far its decisions can be trusted."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from service import schemas
from service.access import CallerHere, GuardedRoute
from service.galleries import Galleries, GalleriesHere, galleries_of
from service.keyring import Caller
from service.once import OnceHere
from service.problems import responses
from service.rooms import Rooms, RoomsHere

router = APIRouter(tags=["gallery"], route_class=GuardedRoute)

_GALLERY = "/galleries/{name}"
Name = Annotated[str, Path(description="name of a gallery", max_length=64)]


async def _named_rooms(request: Request, name: Name) -> AsyncIterator[Rooms]:
    async with galleries_of(request).lease(name) as rooms:
        yield rooms


NamedRooms = Annotated[Rooms, Depends(_named_rooms)]


@router.get(
    "/galleries",
    operation_id="list_galleries",
    response_description="The names of the galleries, and how much each holds",
    responses=responses(503),
)
async def list_galleries(galleries: GalleriesHere, caller: CallerHere) -> schemas.Galleries:
    """List the galleries of the store that the key is for."""
    return await _listed(galleries, caller)


@router.put(
    _GALLERY,
    operation_id="make_gallery",
    response_description="It is made, and empty: what it holds, and how it is set",
    status_code=201,
    responses={
        200: {"model": schemas.GalleryDetail, "description": "There was one of that name before"},
        **responses(422, 503, 507),
    },
)
async def make_gallery(
    galleries: GalleriesHere, caller: CallerHere, name: Name, response: Response
) -> schemas.GalleryDetail:
    """Make a gallery, empty, with the settings that a new one has."""
    own = galleries.own.rooms
    made = await own.ask(galleries.stored.make, name, actor=caller.actor)
    response.status_code = 201 if made else 200
    async with galleries.lease(name) as rooms:
        return await _detail(rooms)


@router.delete(
    _GALLERY,
    operation_id="delete_gallery",
    response_description="It is deleted; these are left",
    responses=responses(404, 409, 422, 503, 507),
)
async def delete_gallery(
    galleries: GalleriesHere, caller: CallerHere, name: Name
) -> schemas.Galleries:
    """Delete a gallery in which nobody is enrolled any more; its log and its receipts are kept.

    The answer lists those that are left.
    """
    await galleries.delete(name, caller.actor)
    return await _listed(galleries, caller)


@router.get(
    _GALLERY,
    operation_id="read_gallery",
    response_description="What it holds, how it is set, and what was measured of its threshold",
    responses=responses(404, 503),
)
async def read_gallery(rooms: NamedRooms) -> schemas.GalleryDetail:
    """Show what the gallery holds, its settings, and its calibration."""
    return await _detail(rooms)


@router.patch(
    _GALLERY,
    operation_id="change_gallery",
    response_description="The gallery as it is set now",
    responses=responses(404, 422, 503),
)
async def change_gallery(
    rooms: NamedRooms, changes: schemas.GalleryChanges
) -> schemas.GalleryDetail:
    """Change some settings, for every process that has the gallery open."""
    await rooms.ask(rooms.gallery.change_settings, changes.model_dump(exclude_none=True))
    return await _detail(rooms)


@router.post(
    "/calibrate",
    operation_id="calibrate",
    response_description="The threshold that decides from now on, and what was measured of it",
    responses=responses(409, 422, 503, 507),
)
async def calibrate(
    rooms: RoomsHere, caller: CallerHere, wanted: schemas.CalibrationWanted, once: OnceHere
) -> schemas.Calibration:
    """Choose the threshold with the gallery's own samples; it decides from then on.

    It is refused when the gallery has too few subjects to promise the rate: at least 3 / rate.
    """

    async def work() -> schemas.Calibration:
        measured = await rooms.ask_at_length(
            rooms.gallery.calibrate, wanted.target_fpir, actor=caller.actor
        )
        return schemas.Calibration.model_validate(measured)

    return await once.words(wanted, schemas.Calibration, work)


async def _listed(galleries: Galleries, caller: Caller) -> schemas.Galleries:
    found = await galleries.own.rooms.ask(galleries.stored.all)
    shown = (one for one in found if caller.may_touch(one.name))
    return schemas.Galleries(
        galleries=tuple(schemas.GalleryEntry.model_validate(one) for one in shown),
        own=galleries.own_name if caller.may_touch(galleries.own_name) else None,
    )


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
