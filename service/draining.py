"""Shutting down: first unready, then no new connections, then every accepted request answered.

Whatever sends requests here (a load balancer, an orchestrator) needs a moment to see that the
service is stopping. Until then requests are answered as usual, but each connection is closed after
its answer, so that the next request goes elsewhere and none is under way when the listener closes.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.connections import is_one_too_many
from service.middleware import HttpMiddleware, at_start


class Draining:
    """Tells whether the service is shutting down."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Make the service unready; may be called from a signal handler."""
        self.begun = True


class CloseConnections(HttpMiddleware):
    """ASGI middleware: while draining, closes a connection after its answer (RFC 9112, 9.6).

    It does so at any time with connections beyond the limit.
    """

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        super().__init__(app)
        self._draining = draining

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the request answered, and announce the close if it is the connection's last."""

        def close_when_begun(message: Message) -> None:
            if self._draining.begun or is_one_too_many(scope):
                MutableHeaders(scope=message)["Connection"] = "close"

        await self._app(scope, receive, at_start(send, close_when_begun))
