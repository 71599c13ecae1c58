"""The application: `create_app(settings)` and the lifespan that opens and closes its rooms."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from gallery import Gallery
from model.encoder import Encoder, ModelFacts, OnnxEncoder
from service import problems
from service.admission import Admission
from service.batcher import Batcher
from service.draining import CloseConnections, Draining
from service.rooms import Rooms
from service.routes import health, page, people, walks
from service.security import Security
from service.settings import Settings

_DESCRIPTION = """
Tells who is walking. A walk is a sequence of silhouettes: white body on black, one person,
one frame after another. Enrol walks of people you know; ask who a new walk is.

Every error is a problem after RFC 9457 (`application/problem+json`) with a stable `code`.
"""
# SQLite writes one at a time, and a search is short: a few threads keep both busy.
_GALLERY_THREADS = 4


class _Application(FastAPI):
    """FastAPI, with the problem's schema among the components that its routes refer to."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = problems.Problem.model_json_schema()
        return document


def create_app(
    settings: Settings,
    *,
    encoder: Encoder | None = None,
    gallery: Gallery | None = None,
    draining: Draining | None = None,
) -> FastAPI:
    """Build the application; nothing is opened before its lifespan starts.

    Args:
        settings: the only source of choices; the environment is not read here.
        encoder: used instead of the model file of the settings; stays its giver's to close.
        gallery: used instead of the database of the settings; stays its giver's to close.
        draining: what the server begins when it is told to stop.

    """
    draining = draining or Draining()
    app = _Application(
        title="metagait",
        summary="Gait identification",
        description=_DESCRIPTION,
        version=health.installed_version(),
        lifespan=_lifespan(settings, encoder, gallery, draining),
    )
    problems.install(app)
    for router in (walks.router, people.router, health.router, page.router):
        app.include_router(router)
    app.mount("/web", page.files())
    app.add_middleware(Security)
    app.add_middleware(CloseConnections, draining=draining)
    return app


def open_encoder(settings: Settings) -> Encoder:
    """Open the model file of the settings; raises ModelFileError or ProviderError."""
    return OnnxEncoder.open(settings.model, provider=settings.provider, threads=settings.threads)


def open_gallery(settings: Settings, facts: ModelFacts) -> Gallery:
    """Open the gallery of the settings for a model.

    Raises:
        GalleryError: the store cannot be made or opened, or is newer than this program.

    """
    return Gallery.open(
        settings.store(),
        model_id=facts.model_id,
        embedding_length=facts.embedding_length,
        name=settings.gallery,
    )


def _lifespan(
    settings: Settings, encoder: Encoder | None, gallery: Gallery | None, draining: Draining
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            app.state.rooms = rooms = _open_rooms(settings, encoder, gallery, draining, stack)
            rooms.batcher.start()
            try:
                yield
            finally:
                await rooms.batcher.close(drain_s=settings.drain_timeout_s)

    return lifespan


def _open_rooms(
    settings: Settings,
    encoder: Encoder | None,
    gallery: Gallery | None,
    draining: Draining,
    stack: ExitStack,
) -> Rooms:
    """Open what was not given; `stack` closes it, threads before what they use."""
    if encoder is None:
        encoder = open_encoder(settings)
        stack.callback(encoder.close)
    if gallery is None:
        gallery = open_gallery(settings, encoder.facts)
        stack.callback(gallery.close)
    decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decoder")
    gallery_threads = ThreadPoolExecutor(_GALLERY_THREADS, thread_name_prefix="gallery")
    stack.callback(decoders.shutdown)
    stack.callback(gallery_threads.shutdown)
    return Rooms(
        settings=settings,
        limits=settings.limits(encoder.facts.max_frames),
        encoder=encoder,
        gallery=gallery,
        batcher=Batcher(
            encoder.encode,
            batch_frames=settings.batch_frames,
            queue_walks=settings.queue_walks,
            wait_s=settings.queue_timeout_s,
        ),
        decoders=decoders,
        gallery_threads=gallery_threads,
        admission=Admission(
            walks=settings.queue_walks, body_bytes=settings.upload_budget_mb * 1024 * 1024
        ),
        draining=draining,
    )
