"""The web page: files of `service/web`, as they are."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from service.access import GuardedRoute

WEB = Path(__file__).parent.parent / "web"

router = APIRouter(include_in_schema=False, route_class=GuardedRoute)


@router.get("/", operation_id="page")
async def page() -> FileResponse:
    """Serve the page."""
    return FileResponse(WEB / "index.html")


def files() -> StaticFiles:
    """Serve what the page is made of, to be mounted at `/web`."""
    return StaticFiles(directory=WEB)
