"""Access control: one table of the scope that each operation needs, and the guard that enforces it.

A route's guard runs before its body is read, so a forbidden request costs next to nothing. The
service does not start if a route has no row in the table or is not guarded.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.types import Message

from service.connections import is_one_too_many
from service.errors import (
    BusyError,
    CrossOriginError,
    ForeignGalleryError,
    MissingScopeError,
    UnsupportedFormatError,
    UploadTimeoutError,
    UploadTooLargeError,
)
from service.keyring import LOCAL, Caller, is_loopback
from service.problems import answer_to, responses
from service.receive import TEXT_FIELDS, check_coding
from service.rooms import rooms_of

Scope = Literal["identify", "enroll", "read", "erase", "review", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

PUBLIC: Final = "public"
"""Open to anybody: it tells nothing about anybody."""
ANY_KEY: Final = "any key"
"""Open to every live key for the gallery, whatever its scopes."""

ACCESS: Mapping[str, Scope | Literal["public", "any key"]] = {
    "livez": PUBLIC,
    "readyz": PUBLIC,
    "page": PUBLIC,
    "docs": PUBLIC,
    "info": ANY_KEY,
    "metrics": ANY_KEY,
    "enroll": "enroll",
    "identify": "identify",
    "identify_batch": "identify",
    "verify": "identify",
    "preview": "identify",
    "list_subjects": "read",
    "read_subject": "read",
    "read_walk": "read",
    "read_receipt": "read",
    "record_consent": "enroll",
    "erase_subject": "erase",
    "erase_sample": "erase",
    "list_galleries": "read",
    "read_gallery": "read",
    "make_gallery": "admin",
    "delete_gallery": "admin",
    "change_gallery": "admin",
    "calibrate": "admin",
    "rebuild": "admin",
    "list_jobs": "admin",
    "read_job": "admin",
    "cancel_job": "admin",
}
"""The scope that a caller needs, by operation id."""

_OF_NO_GALLERY = frozenset({"list_galleries", "metrics"})
"""Operations of no one gallery, which tell only of those that the key may see."""

_READ_ONCE = ("authorization", "content-type", "idempotency-key")
"""Headers that may come only once."""
_JSON = re.compile(r"application/(.+\+)?json")
JSON_BYTES = 64 * 1024
"""Most bytes of a body that is not an upload."""
# Not operations: the web page's files, and what FastAPI itself adds.
_PUBLIC_PATHS = frozenset({"/web", "/openapi.json"})
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "mg_<id>_<secret>",
    "description": "An API key, made with `metagait keys create`. Each operation names the scope "
    "that the key needs. A service without any key listens on loopback only and asks for none.",
}


class GuardedRoute(APIRoute):
    """A route that identifies and authorises its caller before it reads the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the guard before FastAPI's handler."""
        handle = super().get_route_handler()
        operation = operation_of(self)
        need = ACCESS[operation]
        query = _query_of(self)

        async def guarded(request: Request) -> Response:
            if need != PUBLIC:
                _check_room(request)
                _check_headers(request)
                gallery = _gallery_of(request, operation)
                request.state.caller = await _admitted(request, need, gallery)
                _check_query(request, query)
            try:
                # Uploads limit themselves; a body that FastAPI reads is limited here.
                has_body = self.body_field is not None
                return await handle(await _with_body(request) if has_body else request)
            except (HTTPException, RequestValidationError):
                raise
            except Exception as error:
                # Answered here, so that even a bug gets its request id and the safe headers.
                return answer_to(error)

        return guarded


def _check_room(request: Request) -> None:
    """Refuse a request on a connection beyond the limit; public operations are exempt."""
    if is_one_too_many(request.scope):
        most = rooms_of(request).settings.max_connections
        raise BusyError(
            f"expected at most {most} open connections, got more; try again in a moment"
        )


def _check_headers(request: Request) -> None:
    """Refuse a header sent twice: a proxy may have judged the value that is not read here."""
    _check_once("header", {name: len(request.headers.getlist(name)) for name in _READ_ONCE})


def _check_once(where: str, counts: Mapping[str, int]) -> None:
    faults = [
        {"loc": (where, name), "msg": f"expected it once, got it {count} times"}
        for name, count in counts.items()
        if count > 1
    ]
    if faults:
        raise RequestValidationError(faults)


def _query_of(route: APIRoute) -> frozenset[str]:
    """Return the query names that a route and its guard read, with an upload's text fields."""
    named = {"gallery"} | _query_names(route.dependant)
    return frozenset(named.union(TEXT_FIELDS if route.openapi_extra else ()))


def _query_names(dependant: Dependant) -> set[str]:
    named = {field.alias for field in dependant.query_params}
    return named.union(*(_query_names(below) for below in dependant.dependencies))


def _check_query(request: Request, known: frozenset[str]) -> None:
    """Refuse a query name that is unknown, or comes twice.

    Otherwise a mistyped `gallery` would enrol into another one, and one of two values be ignored.
    """
    faults = [
        {
            "loc": ("query", name[:80]),
            "msg": f"expected a name of {', '.join(sorted(known))}, got another",
        }
        for name in request.query_params
        if name not in known
    ]
    if faults:
        raise RequestValidationError(faults)
    _check_once("query", Counter(name for name, _ in request.query_params.multi_items()))


def operation_of(route: APIRoute) -> str:
    """Return the operation id of a route.

    Raises:
        LookupError: the route has no operation id, or `ACCESS` has no row for it.

    """
    operation = route.operation_id
    if operation is None or operation not in ACCESS:
        raise LookupError(f"expected {route.path} to have an operation id with a row in ACCESS")
    return operation


def check_guarded(app: FastAPI) -> None:
    """Check that every route of an application is guarded or known to be public.

    Raises:
        LookupError: a route is neither a GuardedRoute nor known to be public.

    """
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, GuardedRoute) and context.path not in _PUBLIC_PATHS:
            raise LookupError(f"expected {context.path} to be a GuardedRoute")


def document(openapi: dict[str, Any]) -> None:
    """Add to an OpenAPI document the key that each operation needs, and its refusals."""
    openapi["components"]["securitySchemes"] = {"key": _SCHEME}
    for path in openapi["paths"].values():
        for operation in path.values():
            need = ACCESS[operation["operationId"]]
            operation["security"] = [] if need == PUBLIC else [{"key": _roles(need)}]
            if need != PUBLIC:
                refusals = responses(401, 403, 422, 429, 503)
                operation["responses"] |= {str(status): refusals[status] for status in refusals}
            if "gallery" in {named["name"] for named in operation.get("parameters", ())}:
                unknown = responses(404, 422)
                operation["responses"] |= {str(status): unknown[status] for status in unknown}
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                bodies = responses(400, 408, 413, 415, 422)
                operation["responses"] |= {str(status): bodies[status] for status in bodies}


async def caller_of(request: Request) -> Caller:
    """Return the caller that the route's guard admitted."""
    # Async, because FastAPI would send a plain function to a thread and back.
    caller: Caller = request.state.caller
    return caller


CallerHere = Annotated[Caller, Depends(caller_of)]


async def _with_body(request: Request) -> Request:
    """Receive a JSON body within limits of bytes and seconds, before FastAPI reads it.

    Raises:
        UnsupportedFormatError: it is compressed, or its type is not JSON.
        UploadTooLargeError, UploadTimeoutError: it exceeds a limit.
        ClientDisconnect: the caller left.

    """
    check_coding(request)
    body, seconds = bytearray(), rooms_of(request).settings.upload_timeout_s
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > JSON_BYTES:
                    raise UploadTooLargeError(f"expected a body of at most {JSON_BYTES:,} bytes")
    except TimeoutError as error:
        raise UploadTimeoutError(f"expected the whole body within {seconds:g} seconds") from error

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and not _JSON.fullmatch(kind):
        raise UnsupportedFormatError(
            f"expected a body of application/json, got {kind[:80] or 'no content type'!r}"
        )

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return Request(request.scope, receive)


async def _admitted(request: Request, need: str, gallery: str | None) -> Caller:
    rooms = rooms_of(request)
    caller = await rooms.keys.admit(request.headers.get("authorization"))
    if caller is LOCAL and not _is_called_here(request.headers.get("host", "")):
        raise CrossOriginError(
            "expected a loopback address or `localhost` in the header Host while there is no API "
            "key, got another name: make a key with `metagait keys create` to be reached by it"
        )
    if need != ANY_KEY and not caller.may(need):
        raise MissingScopeError(f"expected a key with the scope `{need}`, got one without it")
    if gallery is not None and not caller.may_touch(gallery):
        raise ForeignGalleryError(
            "expected a key for the gallery that is asked for, got one for others: name one of "
            "those with `?gallery=`"
        )
    return caller


def _is_called_here(host: str) -> bool:
    """Tell whether a Host header names this machine, or is absent, as in HTTP/1.0.

    A site may point its own name at 127.0.0.1 (DNS rebinding); the browser of somebody who visits
    it then takes its page for one of ours.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return not name or is_loopback(name)


def _gallery_of(request: Request, operation: str) -> str | None:
    """Return the gallery that the route will touch; None if it is about none in particular."""
    # It is named in the path or the query, never in the body, so that it is checked before the
    # body is read. A second name in the query might be the one that the route takes: refuse it.
    named = request.query_params.getlist("gallery")
    _check_once("query", {"gallery": len(named)})
    path: str | None = request.path_params.get("name")
    if path is not None:
        return path
    if named:
        return named[0]
    return None if operation in _OF_NO_GALLERY else rooms_of(request).settings.gallery


def _roles(need: str) -> list[str]:
    return [] if need == ANY_KEY else [need]
