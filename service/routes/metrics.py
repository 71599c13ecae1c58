"""What an operator watches, for Prometheus to scrape."""

from typing import Any

from fastapi import APIRouter, Response

from gallery import GalleryError
from service.access import GuardedRoute
from service.errors import NotReadyError
from service.metrics import CONTENT_TYPE
from service.problems import responses
from service.rooms import OwnRooms, Rooms
from service.routes.health import installed_version, ready_gallery

router = APIRouter(tags=["health"], route_class=GuardedRoute)
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={**_TEXT, **responses()},
)
async def metrics(rooms: OwnRooms) -> Response:
    """Count what happened since the start, in the text format of Prometheus.

    The figures of a gallery are those of the service's own.
    """
    rooms.metrics.runs(
        version=installed_version(),
        model_id=rooms.encoder.facts.model_id,
        provider=rooms.encoder.runtime.provider,
    )
    await _look_at_gallery(rooms)
    return Response(rooms.metrics.text(), media_type=CONTENT_TYPE)


async def _look_at_gallery(rooms: Rooms) -> None:
    # A service that is not ready is what the figures are there to show: they come all the same.
    try:
        rooms.metrics.gallery(await ready_gallery(rooms))
    except (NotReadyError, GalleryError):
        rooms.metrics.gallery(None)
