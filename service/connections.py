"""Connections with time limits on everything that a caller can make the service wait for.

uvicorn's HTTP/1.1 closes a connection that is idle between requests, but waits for ever in three
other places: for the head of a request, for the rest of a body that was answered early, and for an
answer to be read. Each gets a time limit here, and the number of connections is limited too.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import h11
import uvicorn
from starlette.datastructures import Headers
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.problems import Kind, ProblemResponse, answer
from service.request_ids import HEADER, current_request_id, id_of, under
from service.security import safe_headers

# Longer than proxies keep an idle connection, so that they never use one that was just closed.
KEEP_ALIVE_S = 75
REFUSED_AT_A_TIME = 128
"""Connections beyond the limit that get an answer; further ones are just closed."""
_TOO_MANY = "too_many_connections"
_LOG = logging.getLogger("metagait.service")
_SAID_ALREADY = ("Invalid HTTP request", "Unsupported upgrade", "No supported WebSocket")
_NO_HTTP = Kind(400, "bad_request", "Bad Request")

_Owed = Literal["head", "body", "nothing"]


@dataclass(frozen=True)
class Patience:
    """How long the service waits for a caller, and for how many at once."""

    connections: int = 512
    head_s: float = 15
    """For the whole head of a request, from its first byte or the start of the connection."""
    body_s: float = 60
    """For the rest of a body whose request was answered before the body had arrived."""
    answer_s: float = 60
    """For the network to take what was written of an answer."""


def server_config(app: object, patience: Patience, *, drain_s: int) -> uvicorn.Config:
    """Configure a server with these limits, which at its end gives requests `drain_s` seconds."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        lifespan="on",
        # The loop and protocol that the tests attack, whatever else is installed.
        loop="asyncio",
        http=partial(Connection, patience),  # type: ignore[arg-type]
        ws="none",
        # Paths hold subject ids, and those do not belong in a log.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def is_one_too_many(scope: Scope) -> bool:
    """Tell whether a request came on a connection beyond the limit of open ones."""
    return bool(scope.get("state", {}).get(_TOO_MANY, False))


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, with a time limit on whatever the caller has to do."""

    def __init__(self, patience: Patience, **given: Any) -> None:
        super().__init__(**given)
        self._patience = patience
        self._owed: _Owed | None = None
        self._owing: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless there are far too many; called by asyncio."""
        super().connection_made(transport)
        beyond = len(self.connections) - self._patience.connections
        if beyond > REFUSED_AT_A_TIME:
            transport.abort()
            return
        if beyond > 0:
            self.app_state = {**self.app_state, _TOO_MANY: True}
        # Makes `pause_writing` tell of every byte that the network does not take at once.
        transport.set_write_buffer_limits(high=0)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers; called by asyncio."""
        super().connection_lost(exc)
        for timer in (self._owing, self._unread):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; called by asyncio."""
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; if an answer has begun, only close the connection."""
        with under(id_of(self._headers_in_work())):
            _LOG.info("refused what is no HTTP/1.1, or has too much before its body")
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._send(_no_http())
        self.transport.close()

    def _send(self, problem: ProblemResponse) -> None:
        for event in (
            h11.Response(status_code=problem.status_code, headers=problem.raw_headers),
            h11.Data(data=bytes(problem.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")

    def _headers_in_work(self) -> Headers:
        """Return the headers of the request in work; none if there is no such request."""
        is_in_work = self.cycle is not None and not self.cycle.response_complete
        return Headers(raw=list(self.scope["headers"])) if is_in_work else Headers()

    def pause_writing(self) -> None:
        """Wait for the caller to read, within the time limit; called by asyncio."""
        super().pause_writing()
        self._unread = self._after(self._patience.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with an answer; called by asyncio."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _watch(self) -> None:
        """Determine what the caller owes now, and restart the timer if that has changed."""
        owed = self._what_is_owed()
        if owed == self._owed:
            return
        self._owed = owed
        if self._owing is not None:
            self._owing.cancel()
        if owed is not None:
            self._owing = self._after(self._seconds_for(owed), self.timeout_keep_alive_handler)

    def _what_is_owed(self) -> _Owed | None:
        """Return what the caller owes; None during an answer, which has its own limits."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        has_begun = self.cycle is None or self.conn.trailing_data[0]
        return "head" if has_begun else "nothing"

    def _seconds_for(self, owed: _Owed) -> float:
        patience = self._patience
        return {"head": patience.head_s, "body": patience.body_s, "nothing": KEEP_ALIVE_S}[owed]

    def _after(self, seconds: float, act: Callable[[], object]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, act)


def _no_http() -> ProblemResponse:
    """Build the answer to what is not HTTP, with a request id and safe headers like any other."""
    headers = {HEADER: current_request_id() or "", **safe_headers(), "Connection": "close"}
    return answer(_NO_HTTP, "expected a request of HTTP/1.1, got what is none", headers=headers)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop uvicorn's log lines on single requests: ours say the same, with the request's id."""
    return not record.getMessage().startswith(_SAID_ALREADY)
