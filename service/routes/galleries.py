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
Name = Annotated[
    str,
    Path(
        max_length=64,
        description="Name of the gallery: 1 to 64 letters, digits, `.`, `_` and `-`, beginning "
        "with a letter or a digit.",
    ),
]


async def _named_rooms(request: Request, name: Name) -> AsyncIterator[Rooms]:
    async with galleries_of(request).lease(name) as rooms:
        yield rooms


NamedRooms = Annotated[Rooms, Depends(_named_rooms)]


@router.get(
    "/galleries",
    operation_id="list_galleries",
    summary="List the galleries",
    response_description="The galleries that the key is for, and how much each holds.",
    responses=responses(503),
)
async def list_galleries(galleries: GalleriesHere, caller: CallerHere) -> schemas.Galleries:
    """List the galleries in the service's store, as far as the API key is for them."""
    return await _listed(galleries, caller)


@router.put(
    _GALLERY,
    operation_id="make_gallery",
    summary="Make a gallery",
    response_description="The gallery is made. It is empty and has the default settings.",
    status_code=201,
    responses={
        200: {
            "model": schemas.GalleryDetail,
            "description": "There is a gallery of this name already. It is left as it is.",
        },
        **responses(422, 503, 507),
    },
)
async def make_gallery(
    galleries: GalleriesHere, caller: CallerHere, name: Name, response: Response
) -> schemas.GalleryDetail:
    """Make an empty gallery with the default settings.

    Galleries are separate: each has its own people, settings and calibration, and nobody who is
    enrolled in one is found in another.
    """
    own = galleries.own.rooms
    made = await own.ask(galleries.stored.make, name, actor=caller.actor)
    response.status_code = 201 if made else 200
    async with galleries.lease(name) as rooms:
        return await _detail(rooms)


@router.delete(
    _GALLERY,
    operation_id="delete_gallery",
    summary="Delete an empty gallery",
    response_description="The gallery is deleted. These are left.",
    responses=responses(404, 409, 422, 503, 507),
)
async def delete_gallery(
    galleries: GalleriesHere, caller: CallerHere, name: Name
) -> schemas.Galleries:
    """Delete a gallery in which nobody is enrolled any more; erase the people first.

    Its audit log and its receipts are kept in the store. The service's own gallery cannot be
    deleted.
    """
    await galleries.delete(name, caller.actor)
    return await _listed(galleries, caller)


@router.get(
    _GALLERY,
    operation_id="read_gallery",
    summary="Show a gallery",
    response_description="The gallery's size, settings and calibration.",
    responses=responses(404, 503),
)
async def read_gallery(rooms: NamedRooms) -> schemas.GalleryDetail:
    """Show how much a gallery holds, how it is set, and how its threshold was measured."""
    return await _detail(rooms)


@router.patch(
    _GALLERY,
    operation_id="change_gallery",
    summary="Change the settings of a gallery",
    response_description="The gallery as it is set now.",
    responses=responses(404, 422, 503),
)
async def change_gallery(
    rooms: NamedRooms, changes: schemas.GalleryChanges
) -> schemas.GalleryDetail:
    """Change some settings of a gallery. Those that you leave out stay as they are.

    Every process that has the gallery open follows before its next answer, except for `index_kind`,
    which takes effect when a process opens the gallery next.
    """
    await rooms.ask(rooms.gallery.change_settings, changes.model_dump(exclude_none=True))
    return await _detail(rooms)


@router.post(
    "/calibrate",
    operation_id="calibrate",
    summary="Measure the threshold",
    response_description="The threshold that decides from now on, and how it was measured.",
    responses=responses(409, 422, 503, 507),
)
async def calibrate(
    rooms: RoomsHere, caller: CallerHere, wanted: schemas.CalibrationWanted, once: OnceHere
) -> schemas.Calibration:
    """Measure the threshold for a wanted FPIR with the gallery's own samples.

    FPIR is the share of searches by strangers that name somebody. The threshold decides from then
    on, in place of the model's default. It takes at least 3 / `target_fpir` subjects, 300 for 1 %;
    with fewer the answer is a 409 `calibration_refused`. Other requests are answered meanwhile.

    Calibrate again when the gallery has more than 1.5 times as many subjects: the calibration no
    longer holds then.
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
