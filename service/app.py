"""The application: `create_app(settings)` and the lifespan that opens and closes its rooms."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from gallery import Gallery, KeyStore
from model.encoder import Encoder, ModelFacts, OnnxEncoder
from service import access, problems
from service.admission import Admission
from service.batcher import Batcher
from service.draining import CloseConnections, Draining
from service.keyring import KeyRing, is_loopback
from service.metrics import Measured, Metrics
from service.rooms import Rooms
from service.routes import health, metrics, page, people, walks
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
    """FastAPI, with what its routes cannot say: the problem's schema, and the keys they need."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = problems.Problem.model_json_schema()
        access.document(document)
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
    given = _Given(settings, encoder, gallery, draining or Draining(), Metrics())
    app = _Application(
        title="metagait",
        summary="Gait identification",
        description=_DESCRIPTION,
        version=health.installed_version(),
        lifespan=_lifespan(given),
    )
    problems.install(app)
    for router in (walks.router, people.router, health.router, metrics.router, page.router):
        app.include_router(router)
    app.mount("/web", page.files())
    access.check_guarded(app)
    app.add_middleware(Security)
    app.add_middleware(CloseConnections, draining=given.draining)
    app.add_middleware(Measured, metrics=given.metrics)
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


@dataclass(frozen=True)
class _Given:
    """What an application was built from."""

    settings: Settings
    encoder: Encoder | None
    gallery: Gallery | None
    draining: Draining
    metrics: Metrics


def _lifespan(given: _Given) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            app.state.rooms = rooms = _open_rooms(given, stack)
            rooms.batcher.start()
            try:
                yield
            finally:
                await rooms.batcher.close(drain_s=given.settings.drain_timeout_s)

    return lifespan


def _open_rooms(given: _Given, stack: ExitStack) -> Rooms:
    """Open what was not given; `stack` closes it, threads before what they use."""
    settings, encoder, gallery = given.settings, given.encoder, given.gallery
    if encoder is None:
        encoder = open_encoder(settings)
        stack.callback(encoder.close)
    if gallery is None:
        gallery = open_gallery(settings, encoder.facts)
        stack.callback(gallery.close)
    keys = KeyStore.open(settings.store())
    stack.callback(keys.close)
    rooms = Rooms(
        settings=settings,
        limits=settings.limits(encoder.facts.max_frames),
        encoder=encoder,
        gallery=gallery,
        batcher=_batcher(settings, encoder, given.metrics),
        keys=KeyRing(keys.all, open_without_keys=is_loopback(settings.host)),
        decoders=_threads(settings.decode_threads, "decoder", stack),
        gallery_threads=_threads(_GALLERY_THREADS, "gallery", stack),
        admission=Admission(
            walks=settings.queue_walks, body_bytes=settings.upload_budget_mb * 1024 * 1024
        ),
        draining=given.draining,
        metrics=given.metrics,
    )
    _expose(rooms)
    return rooms


def _batcher(settings: Settings, encoder: Encoder, metrics: Metrics) -> Batcher:
    return Batcher(
        encoder.encode,
        batch_frames=settings.batch_frames,
        queue_walks=settings.queue_walks,
        wait_s=settings.queue_timeout_s,
        notice=metrics.batch,
    )


def _threads(count: int, name: str, stack: ExitStack) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    stack.callback(threads.shutdown)
    return threads


def _expose(rooms: Rooms) -> None:
    """Let the metrics read what changes without passing by them."""
    gauge = rooms.metrics.gauge
    gauge("queue_walks", "Walks that wait for the encoder", lambda: rooms.batcher.waiting)
    gauge("walks_in_work", "Walks from upload to answer", lambda: rooms.admission.taken)
    gauge("places", "Walks that may be in work", lambda: rooms.settings.queue_walks)
    gauge("body_bytes", "Bytes of all bodies in work", lambda: rooms.admission.held_bytes)
    gauge("draining", "1 on the way out", lambda: rooms.draining.begun)
