"""The application: `create_app` builds it, and its lifespan opens and closes what requests use."""

import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from gallery import Galleries as StoredGalleries
from gallery import Gallery, GalleryError, KeyStore, Model, ModelFiles
from model.encoder import SHIPPED_MODEL, Encoder, ModelFacts
from model.encoder import open_encoder as open_model
from service import access, examples, problems, request_ids
from service.admission import Admission
from service.batcher import Batcher, BatchReport
from service.draining import CloseConnections, Draining
from service.engines import Engine, Engines
from service.errors import StartError
from service.galleries import Galleries
from service.idempotency import Answers
from service.introduction import DESCRIPTION, TAGS
from service.jobs import RebuildJobs
from service.keyring import KeyRing, is_loopback
from service.logs import RequestLog
from service.metrics import Measured, Metrics
from service.middleware import Heads
from service.request_ids import RequestIds
from service.rooms import Rooms
from service.routes import galleries, health, jobs, metrics, page, people, walks
from service.security import Security
from service.serving import Serving
from service.settings import Settings

_LOG = logging.getLogger("metagait.service")
# SQLite has one writer at a time and searches are short, so a few threads are enough.
_GALLERY_THREADS = 4


class _Application(FastAPI):
    """FastAPI, with keys, problems, headers and complete examples added to its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        access.document(document)
        problems.share(document)
        request_ids.document(document)
        examples.document(document)
        return document


def create_app(
    settings: Settings,
    *,
    encoder: Encoder | None = None,
    gallery: Gallery | None = None,
    draining: Draining | None = None,
) -> FastAPI:
    """Build the application; nothing is opened until its lifespan starts.

    Args:
        settings: all configuration; the environment is not read here.
        encoder: used instead of the settings' model file; the caller closes it.
        gallery: used instead of the settings' database; the caller or a switch of model closes it.
        draining: begun by the server when it is told to stop.

    """
    given = _Given(settings, encoder, gallery, draining or Draining(), Metrics())
    app = _Application(
        title="metagait",
        summary="Recognises people by the way they walk",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        version=health.installed_version(),
        lifespan=_lifespan(given),
        docs_url=None,
        redoc_url=None,
        # Behind a proxy that ends TLS, the framework's redirect would point to plain HTTP.
        redirect_slashes=False,
    )
    problems.install(app)
    for module in (walks, people, galleries, jobs, health, metrics, page):
        app.include_router(module.router)
    app.mount("/web", page.files())
    access.check_guarded(app)
    app.add_middleware(Heads)
    app.add_middleware(Security)
    app.add_middleware(CloseConnections, draining=given.draining)
    app.add_middleware(Measured, metrics=given.metrics)
    app.add_middleware(RequestLog)
    app.add_middleware(RequestIds)
    return app


def open_encoder(settings: Settings) -> Encoder:
    """Open the settings' model file; raises ModelFileError or ProviderError."""
    return open_model(settings.model, settings.engine_choice())


def open_gallery(settings: Settings, facts: ModelFacts, *, make: bool = True) -> Gallery:
    """Open the settings' gallery for a model.

    Raises:
        GalleryNotFound: there is none of that name, and `make` is false.
        GalleryError: the store cannot be created or opened, or a newer version wrote it.

    """
    gallery = Gallery.open(
        settings.store(),
        model_id=facts.model_id,
        embedding_length=facts.embedding_length,
        name=settings.gallery,
        index=settings.index_choice(),
        master_key=settings.master_key(),
        make=make,
    )
    if gallery.live_model().model_id == facts.model_id:
        _keep_model_file(settings, gallery, facts)
    return gallery


def _keep_model_file(settings: Settings, gallery: Gallery, facts: ModelFacts) -> None:
    """Copy the live generation's model file into the data folder, for a later rollback to it."""
    files = ModelFiles.of(settings.data)
    if facts.model_id not in files.ids():
        try:
            gallery.note_model_file(files.add(settings.model, facts.model_id))
        except GalleryError as error:
            _LOG.warning(
                "the model %s could not be copied, so a rollback to it needs a restart: %s",
                facts.model_id,
                error,
            )


@dataclass(frozen=True)
class _Given:
    """The arguments that an application was built from."""

    settings: Settings
    encoder: Encoder | None
    gallery: Gallery | None
    draining: Draining
    metrics: Metrics


def _lifespan(given: _Given) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            engines = Engines()
            own = _serving(given, _open_rooms(given, engines, stack), engines)
            galleries = app.state.galleries = _galleries(given, own, engines, stack)
            await own.start()
            try:
                yield
            finally:
                await galleries.close(drain_s=given.settings.drain_timeout_s)

    return lifespan


def _open_rooms(given: _Given, engines: Engines, stack: ExitStack) -> Rooms:
    """Open what was not passed in; `stack` closes it, threads before what they use."""
    settings, encoder, gallery = given.settings, given.encoder, given.gallery
    if encoder is None:
        encoder = open_encoder(settings)
        stack.callback(encoder.close)
    if gallery is None:
        gallery = open_gallery(settings, encoder.facts)
        stack.callback(gallery.close)
    keys = KeyStore.open(settings.store())
    stack.callback(keys.close)
    admission = Admission(
        walks=settings.queue_walks,
        body_bytes=settings.upload_budget_mb * 1024 * 1024,
        wait_s=settings.queue_timeout_s,
    )
    batcher = _batcher(settings, encoder, given.metrics, admission)
    engine = Engine(encoder, batcher, given.encoder is None)
    return Rooms(
        settings=settings,
        limits=settings.limits(encoder.facts.max_frames),
        engine=engines.add(engine),
        gallery=gallery,
        keys=KeyRing(
            keys.all,
            open_without_keys=is_loopback(settings.host),
            threads=_threads(1, "keys", stack),
        ),
        jobs=_rebuilds(settings, gallery, encoder, stack),
        decoders=_threads(settings.decode_threads, "decoder", stack),
        video_decoders=_threads(max(1, settings.decode_threads // 2), "video", stack),
        gallery_threads=_threads(_GALLERY_THREADS, "gallery", stack),
        long_thread=_threads(1, "gallery-long", stack),
        admission=admission,
        draining=given.draining,
        answers=Answers(),
        metrics=given.metrics,
    )


def _rebuilds(
    settings: Settings, gallery: Gallery, encoder: Encoder, stack: ExitStack
) -> RebuildJobs:
    log = gallery.jobs()
    stack.callback(log.close)
    rebuilds = RebuildJobs(settings, log, _rebuild_opener(settings, encoder))
    stack.callback(rebuilds.close)
    rebuilds.resume()
    return rebuilds


def _serving(given: _Given, rooms: Rooms, engines: Engines) -> Serving:
    # An operator who names no model gets the one that the gallery uses.
    follows = given.settings.model == SHIPPED_MODEL
    serving = Serving(rooms, partial(reopen, engines), engines, follows=follows)
    _expose(serving, engines)
    return serving


def _galleries(given: _Given, own: Serving, engines: Engines, stack: ExitStack) -> Galleries:
    settings = given.settings
    stored = StoredGalleries.open(settings.store(), master_key=settings.master_key())
    stack.callback(stored.close)

    def open_serving(rooms: Rooms, name: str, stack: ExitStack) -> Serving:
        opened = _beside(rooms, name, engines, stack)
        # It may have a model other than the service's own, and follows that.
        return Serving(opened, partial(reopen, engines), engines, follows=True)

    return Galleries(own, stored, open_serving)


def _beside(rooms: Rooms, name: str, engines: Engines, stack: ExitStack) -> Rooms:
    """Open another gallery of the same store, for the same model as `rooms`."""
    settings = rooms.settings.model_copy(update={"gallery": name})
    facts = rooms.encoder.facts
    gallery = open_gallery(settings, facts, make=False)
    stack.callback(gallery.close)
    jobs = _rebuilds(settings, gallery, rooms.encoder, stack)
    engine = engines.share(rooms.engine)
    return replace(rooms, settings=settings, gallery=gallery, jobs=jobs, engine=engine)


def reopen(engines: Engines, rooms: Rooms, live: Model, undo: AsyncExitStack) -> Rooms:
    """Open the live generation's model from the data folder, and the gallery for that model.

    Args:
        engines: hands out the model's engine, which another gallery may have opened.
        rooms: those beside which these are opened.
        live: the model.
        undo: closes, on the event loop, what was opened before an error.

    Raises:
        ModelFileMissing: the data folder has no file of that model, or a different one.
        StartError: the file holds another model, or one that takes walks of another size.
        ModelError: the file cannot be opened.
        GalleryError: the store cannot be opened.

    """
    settings = rooms.settings
    path = ModelFiles.of(settings.data).find(live.model_id, rooms.gallery.model_sha256())
    engine = engines.hold(live.model_id, lambda: _engine(settings, path, rooms))
    # Whoever else held the engine may have left it meanwhile, with walks in its queue.
    undo.push_async_callback(engines.release, engine, drain_s=settings.drain_timeout_s)
    facts = engine.encoder.facts
    _require_same_walks(facts, rooms.encoder.facts, live)
    gallery = open_gallery(settings, facts, make=False)
    return replace(
        rooms,
        limits=settings.limits(facts.max_frames),
        engine=engine,
        gallery=gallery,
    )


def _rebuild_opener(settings: Settings, serving: Encoder) -> Callable[[Path], Encoder]:
    """Return what opens a rebuild's model: on the serving engine, with threads of its own."""
    choice = settings.engine_choice().like(serving.runtime)
    choice = replace(choice, threads=settings.rebuild_threads, mode="latency")
    return lambda path: open_model(path, choice)


def _engine(settings: Settings, path: Path, rooms: Rooms) -> Engine:
    """Open a model on the same runtime as the one that serves, with a queue for it."""
    encoder = open_model(path, settings.engine_choice().like(rooms.encoder.runtime))
    return Engine(encoder, _batcher(settings, encoder, rooms.metrics, rooms.admission))


def _require_same_walks(facts: ModelFacts, before: ModelFacts, live: Model) -> None:
    if facts.model_id != live.model_id or facts.size != before.size:
        raise StartError(
            f"expected a model {live.model_id} for walks of {list(before.size)} pixels, "
            f"got {facts.model_id} for {list(facts.size)}; METAGAIT_PRECISION and METAGAIT_ENGINE "
            "have to be those that the gallery was embedded with"
        )


def _batcher(
    settings: Settings, encoder: Encoder, metrics: Metrics, admission: Admission
) -> Batcher:
    def notice(report: BatchReport) -> None:
        metrics.batch(report)
        admission.encoded(report)

    runtime = encoder.runtime
    return Batcher(
        encoder.encode,
        batch_frames=settings.batch_frames or runtime.batch_frames,
        queue_walks=settings.queue_walks,
        wait_s=settings.queue_timeout_s,
        calls=runtime.callers,
        # On a CPU calls are short: keep one ready. Elsewhere, better let a larger batch collect.
        ahead=1 if runtime.on_cpu else 0,
        notice=notice,
        retry_after_s=lambda: admission.retry_after_s,
    )


def _threads(count: int, name: str, stack: ExitStack) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    stack.callback(threads.shutdown)
    return threads


def _expose(serving: Serving, engines: Engines) -> None:
    """Register gauges that read the current state whenever the metrics are scraped."""
    rooms = serving.rooms
    gauge = rooms.metrics.gauge
    gauge(
        "queue_walks",
        "Walks that are waiting for the encoder",
        lambda: engines.waiting,
    )
    gauge("walks_in_work", "Walks between upload and answer", lambda: rooms.admission.taken)
    gauge(
        "places",
        "Walks that may be in work at once; more are refused",
        lambda: rooms.settings.queue_walks,
    )
    gauge(
        "expected_wait_seconds",
        "Time until the encoder would begin with a walk that arrives now",
        lambda: rooms.admission.expected_wait_s,
    )
    gauge("body_bytes", "Bytes of all request bodies in work", lambda: rooms.admission.held_bytes)
    gauge("draining", "1 while the service is stopping", lambda: rooms.draining.begun)
