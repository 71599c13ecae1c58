"""The base of the ASGI middlewares, which see HTTP requests only and the start of each answer."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HttpMiddleware:
    """An ASGI middleware for HTTP requests; everything else goes straight to `app`.

    Args:
        app: called by `handle` to have a request answered.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope; the ASGI interface."""
        handle = self.handle if scope["type"] == "http" else self._app
        await handle(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        raise NotImplementedError


def at_start(send: Send, act: Callable[[Message], None]) -> Send:
    """Wrap `send` so that `act` sees, and may change, the message that starts the answer."""

    async def acting(message: Message) -> None:
        if message["type"] == "http.response.start":
            act(message)
        await send(message)

    return acting


class Heads(HttpMiddleware):
    """ASGI middleware: answers HEAD like GET but without the body (RFC 9110, 9.3.2)."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a HEAD answered as a GET, and withhold its body."""
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, send_head)
        finally:
            # The middlewares outside read the route and the problem to count and log.
            scope.update(inner, method="HEAD")
