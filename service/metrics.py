"""The metrics for Prometheus; each application has its own registry, and nothing is global.

Names follow Prometheus's rules (base units, `_total` for counters). No label ever holds a subject,
a file name or a requested path: labels come from closed lists, except the names of galleries, of
which a route states a bounded number.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gallery import GalleryStatus
from service.batcher import BatchReport
from service.clocks import Clock
from service.middleware import HttpMiddleware, at_start

CONTENT_TYPE = CONTENT_TYPE_LATEST
Stage = Literal["receive", "decode", "align", "quality", "queue", "encode", "gallery"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WALKS = (1, 2, 4, 8, 16, 32, 64)
_FRAMES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_OF_A_GALLERY = {
    "subjects": "People enrolled in the gallery",
    "samples": "Walks enrolled in the gallery",
    "indexed": "Samples of the gallery that a search can find",
    "generation": "Number of the live generation; it grows with a rebuild",
}


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._requests = counter(
            "metagait_requests", "Requests answered", ["method", "route", "status"]
        )
        took = "From a request's first byte to its answer's last"
        self._request_seconds = histogram(
            "metagait_request_seconds", took, ["route"], buckets=_SECONDS
        )
        refused = "Requests answered with a problem, by its code"
        self._refusals = counter("metagait_refusals", refused, ["code"])
        spent = "Time that a walk spent in a stage, waiting included"
        self._stages = histogram("metagait_stage_seconds", spent, ["stage"], buckets=_SECONDS)
        worked = "Processor time of the threads that decode, align, judge and search"
        self._processor = counter("metagait_stage_processor_seconds", worked, ["stage"])
        walks = "Walks in one call of the encoder"
        self._batch_walks = histogram("metagait_batch_walks", walks, buckets=_WALKS)
        frames = "Frames in one call of the encoder, padding included"
        self._batch_frames = histogram("metagait_batch_frames", frames, buckets=_FRAMES)
        padding = "Frames that were encoded only to fill a batch"
        self._padding = counter("metagait_padding_frames", padding)
        decisions = "Decisions of identify and verify"
        self._decisions = counter("metagait_decisions", decisions, ["decision"])
        reasons = "Inconclusive answers, by reason"
        self._reasons = counter("metagait_inconclusive", reasons, ["reason"])
        self._ready = gauge("metagait_ready", "1 while /readyz answers 200")
        asked_for = "Galleries that were asked for since the start"
        self._open = gauge("metagait_galleries_open", asked_for)
        searched = "1 while walks can be searched for in the gallery"
        self._gallery_ready = gauge("metagait_gallery_ready", searched, ["gallery"])
        self._gallery = {
            what: gauge(f"metagait_gallery_{what}", words, ["gallery"])
            for what, words in _OF_A_GALLERY.items()
        }
        runs = "1; the labels say what runs"
        self._runs = gauge("metagait_info", runs, ["version", "model_id", "provider"])

    def gauge(self, name: str, words: str, read: Callable[[], float]) -> None:
        """Expose a number that is read at each scrape."""
        Gauge(f"metagait_{name}", words, registry=self._registry).set_function(read)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request and its time."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        """Count a problem by its code."""
        self._refusals.labels(code).inc()

    def waited(self, stage: Stage, seconds: float) -> None:
        """Observe the time that one walk spent in a stage."""
        self._stages.labels(stage).observe(seconds)

    def stage(self, stage: Stage, clock: Clock) -> None:
        """Observe the time of one walk in a stage that a thread runs."""
        self.waited(stage, clock.wall_s)
        self._processor.labels(stage).inc(clock.processor_s)

    def batch(self, report: BatchReport) -> None:
        """Observe a batch, and how long its walks waited."""
        self._batch_walks.observe(len(report.frames))
        padded = len(report.frames) * max(report.frames)
        self._batch_frames.observe(padded)
        self._padding.inc(padded - sum(report.frames))
        for seconds in report.waited_s:
            self.waited("queue", seconds)
            self.waited("encode", report.encode_s)

    def decided(self, decision: str, reasons: Iterable[str]) -> None:
        """Count a decision, and its reasons if it is inconclusive."""
        self._decisions.labels(decision).inc()
        for reason in reasons:
            self._reasons.labels(reason).inc()

    def runs(self, version: str, models: Iterable[tuple[str, str]]) -> None:
        """State which models run on which providers, replacing the previous statement."""
        self._runs.clear()
        for model_id, provider in models:
            self._runs.labels(version, model_id, provider).set(1)

    def ready(self, ready: bool, *, open_galleries: int) -> None:
        """State whether the service is ready, and how many galleries it has open."""
        self._ready.set(ready)
        self._open.set(open_galleries)

    def forget_galleries(self) -> None:
        """Drop what was stated about the galleries, before stating it anew."""
        for gauge in (self._gallery_ready, *self._gallery.values()):
            gauge.clear()

    def gallery(self, name: str, status: GalleryStatus | None, *, ready: bool) -> None:
        """State whether a gallery is ready, and its status unless its store does not answer."""
        self._gallery_ready.labels(name).set(ready)
        if status is not None:
            for what, gauge in self._gallery.items():
                gauge.labels(name).set(getattr(status, what))

    def text(self) -> bytes:
        """Return all metrics in the text format that Prometheus scrapes."""
        return generate_latest(self._registry)


class Measured(HttpMiddleware):
    """ASGI middleware: counts every request by its route, never by its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        super().__init__(app)
        self._metrics = metrics

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the request answered, and count it."""
        started, status = time.perf_counter(), 500

        def note(message: Message) -> None:
            nonlocal status
            status = message["status"]

        try:
            await self._app(scope, receive, at_start(send, note))
        finally:
            # An unexpected error is answered outside this middleware, with status 500.
            code = scope.get("problem", "internal_error" if status >= 500 else None)
            if code is not None:
                self._metrics.refused(code)
            seconds = time.perf_counter() - started
            self._metrics.answered(scope["method"], _route(scope), status, seconds)


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")
