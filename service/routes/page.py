"""The web page, files of `service/web` as they are, and the API described for people."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles

from service.access import GuardedRoute
from service.apipage import api_page

WEB = Path(__file__).parent.parent / "web"

router = APIRouter(include_in_schema=False, route_class=GuardedRoute)


@router.get("/", operation_id="page")
async def page() -> FileResponse:
    """Serve the page."""
    return FileResponse(WEB / "index.html")


@router.get("/docs", operation_id="docs")
async def docs(request: Request) -> HTMLResponse:
    """Serve the OpenAPI document for people."""
    return HTMLResponse(api_page(request.app.openapi()))


def files() -> StaticFiles:
    """Serve what the page is made of, to be mounted at `/web`."""
    return StaticFiles(directory=WEB)
