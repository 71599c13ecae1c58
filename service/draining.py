"""The way out: unready first, then no new connections, then every accepted request answered.

Whoever sends requests here (a load balancer, an orchestrator) needs a moment to see that the
service is leaving. Until then requests are answered as always, but each connection is closed after
its answer, so that the next request goes elsewhere and none is on its way when the door shuts.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.connections import is_one_too_many
from service.middleware import HttpMiddleware, at_start


class Draining:
    """Whether the service is on its way out."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Turn unready; may be called from a signal handler."""
        self.begun = True


class CloseConnections(HttpMiddleware):
    """ASGI middleware: while draining, a connection ends with its answer (RFC 9112, 9.6).

    So does one too many at any time.
    """

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        super().__init__(app)
        self._draining = draining

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request be answered, and say that it is the last of its connection."""

        def close_when_begun(message: Message) -> None:
            if self._draining.begun or is_one_too_many(scope):
                MutableHeaders(scope=message)["Connection"] = "close"

        await self._app(scope, receive, at_start(send, close_when_begun))
