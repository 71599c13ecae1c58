"""What the ASGI middlewares share: they see HTTP requests alone, and the start of each answer."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HttpMiddleware:
    """An ASGI middleware of HTTP requests; whatever else comes passes by.

    Args:
        app: what `handle` calls to have a request answered.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the ASGI interface."""
        handle = self.handle if scope["type"] == "http" else self._app
        await handle(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request."""
        raise NotImplementedError


def at_start(send: Send, act: Callable[[Message], None]) -> Send:
    """Wrap `send` so that `act` sees the message that begins the answer, and may change it."""

    async def acting(message: Message) -> None:
        if message["type"] == "http.response.start":
            act(message)
        await send(message)

    return acting


class Heads(HttpMiddleware):
    """ASGI middleware: answers HEAD as GET without the body, as RFC 9110 wants it (9.3.2)."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the GET answered, and keep its body back."""
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
            # Whoever counts and logs outside reads the route and the problem.
            scope.update(inner, method="HEAD")
