"""Gives every request an id: the caller's X-Request-Id if that is well-formed, else a new one.

The id is in the answer's header, in problems, and in every log line about the request.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.middleware import HttpMiddleware, at_start

HEADER = "X-Request-Id"
# Without characters that could end a line of a log or a header.
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DESCRIBED = {
    "description": "Id of the request in the service's log: the one that you sent, or a new one.",
    "required": True,
    "schema": {
        "type": "string",
        "pattern": f"^{_SANE.pattern}$",
        "examples": ["b2b6c0c9f0a14d2e8f7f6f1f0c9e7d11"],
    },
}
_CURRENT: ContextVar[str | None] = ContextVar("metagait_request_id", default=None)


def current_request_id() -> str | None:
    """Return the id of the request that is being handled; None outside a request."""
    return _CURRENT.get()


def id_of(headers: Headers) -> str:
    """Return the id that the request's headers name, if there is one sane one, else a new id."""
    given = headers.getlist(HEADER)
    return given[0] if len(given) == 1 and _SANE.fullmatch(given[0]) else secrets.token_hex(16)


@contextmanager
def under(request_id: str) -> Iterator[None]:
    """Make `request_id` the current one while the block runs."""
    token = _CURRENT.set(request_id)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class RequestIds(HttpMiddleware):
    """ASGI middleware: gives each request its id, and adds it to the answer."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the request answered under its id."""
        request_id = id_of(Headers(scope=scope))

        def add_id(message: Message) -> None:
            MutableHeaders(scope=message)[HEADER] = request_id

        with under(request_id):
            await self._app(scope, receive, at_start(send, add_id))


def document(openapi: dict[str, Any]) -> None:
    """Add the header to every answer of an OpenAPI document."""
    components = openapi["components"]
    components["headers"] = {HEADER: _DESCRIBED}
    answers = [
        answer
        for path in openapi["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
    ]
    for answer in (*components["responses"].values(), *answers):
        if "$ref" not in answer:
            answer.setdefault("headers", {})[HEADER] = {"$ref": f"#/components/headers/{HEADER}"}
