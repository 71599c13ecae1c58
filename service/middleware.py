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
