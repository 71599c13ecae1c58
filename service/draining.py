"""The way out: unready first, then no new connections, then every accepted request answered.

Whoever sends requests here (a load balancer, an orchestrator) needs a moment to see that the
service is leaving. Until then requests are answered as always, but each connection is closed after
its answer, so that the next request goes elsewhere and none is on its way when the door shuts.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Draining:
    """Whether the service is on its way out."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Turn unready; may be called from a signal handler."""
        self.begun = True


class CloseConnections:
    """ASGI middleware: while draining, a connection ends with its answer (RFC 9112, 9.6)."""

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the ASGI interface."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining.begun:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_last)
