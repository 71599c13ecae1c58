"""Every request has an id: the caller's X-Request-Id if it is a sane one, else a new one.

It is in the answer's header, in problems, and in every line that is logged on its way.
"""

import re
import secrets
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.middleware import HttpMiddleware, at_start

HEADER = "X-Request-Id"
# Nothing that could end a line of a log or of a header.
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CURRENT: ContextVar[str | None] = ContextVar("metagait_request_id", default=None)


def current_request_id() -> str | None:
    """Tell the id of the request that is being worked on; None outside of any."""
    return _CURRENT.get()


class RequestIds(HttpMiddleware):
    """ASGI middleware: takes or makes the id."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request be answered under its id."""
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SANE.fullmatch(given) else secrets.token_hex(16)

        def add_id(message: Message) -> None:
            MutableHeaders(scope=message)[HEADER] = request_id

        token = _CURRENT.set(request_id)
        try:
            await self._app(scope, receive, at_start(send, add_id))
        finally:
            _CURRENT.reset(token)
