"""Logging: one JSON object per line, and one line per request.

A line names the route, not the path, which may hold a subject id. It names a key's id, never the
key. A caller's file names are never looked at.
"""

import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import Message, Receive, Scope, Send

from service.middleware import HttpMiddleware, at_start
from service.request_ids import current_request_id

_REQUESTS = logging.getLogger("metagait.requests")
_FIELDS = ("method", "route", "status", "problem", "key_id", "milliseconds")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, request id and a request's fields as JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := current_request_id()) is not None:
            line["request_id"] = request_id
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def log_json_lines(level: int = logging.INFO) -> None:
    """Write the logs of the process to standard error as lines of JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler])
    # Its lines name addresses and paths, and our own already hold the text of an exception.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class RequestLog(HttpMiddleware):
    """ASGI middleware: logs every answered request as one line at level info."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the request answered, and log it."""
        started, status = time.perf_counter(), 0

        def note(message: Message) -> None:
            nonlocal status
            status = message["status"]

        try:
            await self._app(scope, receive, at_start(send, note))
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            _REQUESTS.info("answered", extra=_line(scope, status, milliseconds))


def _line(scope: Scope, status: int, milliseconds: float) -> dict[str, object]:
    route = scope.get("route")
    caller = scope.get("state", {}).get("caller")
    return {
        "method": scope["method"] if scope["method"].isalpha() else "other",
        "route": getattr(route, "path", "none"),
        "status": status,
        "problem": scope.get("problem"),
        "key_id": getattr(caller, "key_id", None),
        "milliseconds": milliseconds,
    }
