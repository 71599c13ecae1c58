"""What an operator watches, for Prometheus to scrape."""

from typing import Any, NamedTuple

from fastapi import APIRouter, Response

from gallery import GalleryError, GalleryNotFound, GalleryStatus
from service.access import CallerHere, GuardedRoute
from service.errors import NotReadyError
from service.galleries import Galleries, GalleriesHere
from service.metrics import CONTENT_TYPE
from service.problems import responses
from service.rooms import Rooms
from service.routes.health import check_gallery, check_service, installed_version

router = APIRouter(tags=["health"], route_class=GuardedRoute)
GALLERIES = 20
"""How many galleries the figures name: each is a label more, and a look at the store a scrape."""
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Figures for Prometheus",
    response_description="The figures, one on a line.",
    response_class=Response,
    responses={**_TEXT, **responses()},
)
async def metrics(galleries: GalleriesHere, caller: CallerHere) -> Response:
    """Count what happened since the start, in the text format of Prometheus.

    Requests, stages and decisions are counted for all galleries together. Figures of single
    galleries are those of the service's own and of the ones that were asked for since the start: at
    most 20, and only those that the API key is for.
    """
    own_name, *others = galleries.open_names
    names = [own_name, *filter(caller.may_touch, others)][:GALLERIES]
    looked = [await _look_at(galleries, name) for name in names]
    own, figures = galleries.own.rooms, galleries.own.rooms.metrics
    # From here on nothing waits: another scrape would else find the figures half stated.
    is_ready = looked[0] is not None and looked[0].ready
    figures.ready(is_ready, open_galleries=len(galleries.open_names))
    figures.forget_galleries()
    models = {_model_of(own)}
    for name, seen in zip(names, looked, strict=True):
        if seen is not None and caller.may_touch(name):
            figures.gallery(name, seen.status, ready=seen.ready)
            models |= seen.models
    figures.runs(installed_version(), models)
    return Response(figures.text(), media_type=CONTENT_TYPE)


class _Looked(NamedTuple):
    """What a look at one gallery found."""

    status: GalleryStatus | None
    """None where its store does not answer."""
    ready: bool
    models: frozenset[tuple[str, str]]


async def _look_at(galleries: Galleries, name: str) -> _Looked | None:
    """Look at a gallery, ready or not; None for one that was deleted."""
    try:
        async with galleries.lease(name) as rooms:
            status = await rooms.ask(rooms.gallery.status)
            return _Looked(status, _is_ready(rooms, status), frozenset({_model_of(rooms)}))
    except GalleryNotFound:
        return None
    except GalleryError:
        # That it does not answer is what the figures are there to show.
        return _Looked(None, False, frozenset())


def _is_ready(rooms: Rooms, status: GalleryStatus) -> bool:
    try:
        check_service(rooms)
        check_gallery(rooms, status)
    except NotReadyError:
        return False
    return True


def _model_of(rooms: Rooms) -> tuple[str, str]:
    return rooms.encoder.facts.model_id, rooms.encoder.runtime.provider
