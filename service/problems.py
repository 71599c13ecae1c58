"""Turns errors into RFC 9457 problems; the only place that maps an error's type to a status."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

import gallery
from model.errors import EncodeError, ModelError, SilhouetteError
from service import errors
from service.problem_examples import BESIDE, DETAILS, REQUEST_ID
from service.request_ids import current_request_id

MEDIA_TYPE = "application/problem+json"
# RFC 9110: a 401 names the expected scheme, a 429 or 503 says when to retry.
_EXTRA_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="metagait"'},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}
# Only `request_in_work` has it.
_SOME_HEADERS: Mapping[int, tuple[str, ...]] = {409: ("Retry-After",)}
_HEADERS: Mapping[str, dict[str, Any]] = {
    "WWW-Authenticate": {
        "description": "How to send the key.",
        "schema": {"type": "string", "examples": ['Bearer realm="metagait"']},
    },
    "Retry-After": {
        "description": "Seconds to wait before you send the same request again. With a 409, only "
        "`request_in_work` has it.",
        "schema": {"type": "integer", "minimum": 0, "examples": [1]},
    },
}
_MEND: Mapping[type[Exception], str] = {
    gallery.SampleDamaged: "erase that sample by its id and enrol its walk again, or restore a "
    "backup",
    gallery.ReceiptDamaged: "a backup has it, or whoever asked for the erasure",
}
_LOG = logging.getLogger("metagait.service")


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its status, its stable code, and its title."""

    status: int
    code: str
    title: str


_INTERNAL = Kind(500, "internal_error", "The service failed")
_INVALID = Kind(422, "invalid_request", "The request is not valid")
# Their texts name servers, folders and databases, which only the operator may read.
_INSIDE = (gallery.IndexUnavailable, gallery.StoreUnavailable, gallery.StoreFull)

KINDS: Mapping[type[Exception], Kind] = {
    errors.MalformedUploadError: Kind(400, "malformed_upload", "The body is not what is expected"),
    errors.InvalidFieldError: Kind(422, "invalid_field", "A form field is missing or wrong"),
    errors.UploadTooLargeError: Kind(413, "upload_too_large", "The body is too large"),
    errors.UploadTimeoutError: Kind(408, "upload_timeout", "The body came too slowly"),
    errors.UnsupportedFormatError: Kind(415, "unsupported_format", "The format is not supported"),
    errors.DamagedUploadError: Kind(422, "damaged_upload", "A file is cut short or damaged"),
    errors.UnsafeArchiveError: Kind(422, "unsafe_archive", "The archive looks malicious"),
    errors.FrameTooLargeError: Kind(422, "frame_too_large", "The frames have too many pixels"),
    errors.TooManyFramesError: Kind(422, "too_many_frames", "The walk is too long"),
    errors.TooFewFramesError: Kind(422, "too_few_frames", "The walk is too short"),
    errors.PoorQualityError: Kind(422, "poor_quality", "The walk is too poor to enrol"),
    errors.IdempotencyError: Kind(
        409, "idempotency_conflict", "The Idempotency-Key was used before"
    ),
    errors.InWorkError: Kind(409, "request_in_work", "The same request is still in work"),
    errors.AuthenticationError: Kind(401, "unauthenticated", "No live API key"),
    errors.MissingScopeError: Kind(403, "missing_scope", "The key lacks the scope"),
    errors.ForeignGalleryError: Kind(403, "foreign_gallery", "The key is for other galleries"),
    errors.RateLimitedError: Kind(429, "rate_limited", "Too many requests with this key"),
    errors.CrossOriginError: Kind(403, "cross_origin", "The request comes from another origin"),
    errors.BusyError: Kind(503, "busy", "No room for another walk now"),
    errors.DeadlineError: Kind(503, "deadline_passed", "The walk waited too long"),
    errors.NotReadyError: Kind(503, "not_ready", "The service is not ready"),
    SilhouetteError: Kind(422, "no_body", "No frame shows a body"),
    gallery.InvalidSubject: Kind(422, "invalid_subject", "The subject id cannot be used"),
    gallery.InvalidMetadata: Kind(422, "invalid_metadata", "The metadata cannot be used"),
    gallery.InvalidSetting: Kind(422, "invalid_setting", "The setting cannot be used"),
    gallery.CalibrationRefused: Kind(409, "calibration_refused", "Too few people for this rate"),
    gallery.EnrolmentConflict: Kind(
        409, "enrolment_conflict", "The walk is nearer to somebody else"
    ),
    errors.UnknownModelError: Kind(404, "unknown_model", "No such model"),
    errors.UnusableModelError: Kind(422, "unusable_model", "The model cannot run here"),
    errors.JobRunningError: Kind(409, "job_running", "A rebuild is already running"),
    gallery.JobNotFound: Kind(404, "job_not_found", "No such job"),
    errors.OwnGalleryError: Kind(409, "own_gallery", "The service needs this gallery"),
    gallery.GalleryNotFound: Kind(404, "gallery_not_found", "No such gallery"),
    gallery.GalleryNotEmpty: Kind(409, "gallery_not_empty", "The gallery is not empty"),
    gallery.RebuildRefused: Kind(409, "rebuild_refused", "The gallery is being rebuilt"),
    gallery.InvalidGalleryName: Kind(
        422, "invalid_gallery_name", "The gallery name cannot be used"
    ),
    gallery.InvalidConsent: Kind(422, "invalid_consent", "The consent cannot be used"),
    gallery.InvalidText: Kind(422, "invalid_text", "The database cannot hold the text"),
    gallery.InvalidCapture: Kind(422, "invalid_capture", "The capture time cannot be used"),
    gallery.ReceiptNotFound: Kind(404, "receipt_not_found", "No such receipt"),
    gallery.SubjectNotFound: Kind(404, "subject_not_found", "No such subject"),
    gallery.SampleNotFound: Kind(404, "sample_not_found", "No such sample"),
    gallery.SilhouettesNotKept: Kind(404, "silhouettes_not_kept", "The sample has no silhouettes"),
    gallery.ModelMismatch: Kind(409, "model_mismatch", "Embedded by another model"),
    gallery.IndexUnavailable: Kind(503, "index_unavailable", "The search engine does not answer"),
    gallery.StoreUnavailable: Kind(503, "store_unavailable", "The store does not answer"),
    # Not a 503, because a later request gets the same answer.
    gallery.SampleDamaged: Kind(500, "sample_damaged", "The stored sample is damaged"),
    gallery.ReceiptDamaged: Kind(500, "receipt_damaged", "The stored receipt is damaged"),
    gallery.StoreFull: Kind(507, "store_full", "The store is full"),
    # The caller hung up while sending. Nobody reads the answer, but the failure is not ours.
    ClientDisconnect: Kind(400, "caller_gone", "The caller left"),
    # Bugs of ours. EncodeError is one, because the walk was checked before it was encoded.
    EncodeError: _INTERNAL,
    ModelError: _INTERNAL,
    gallery.GalleryError: _INTERNAL,
    errors.ServiceError: _INTERNAL,
    Exception: _INTERNAL,
}


def _is_none(value: object) -> bool:
    return value is None


class Problem(BaseModel):
    """An error, as in RFC 9457. Branch on `code`, which is stable."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:metagait:problem:too_many_frames",
                "title": "The walk is too long",
                "status": 422,
                "detail": "expected at most 1,000 frames in a walk, got 1,001 or more",
                "code": "too_many_frames",
            }
        }
    )

    type: str = Field(description="The kind of problem, as a URN that ends in `code`.")
    title: str = Field(description="The kind of problem in words, the same for each `code`.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="For people: what was expected, and what came.")
    code: str = Field(description="The kind of problem, for programs. It is stable.")
    # Left out if there is none, in a batch as well as in a single answer.
    request_id: str | None = Field(
        None,
        description="The answer's X-Request-Id, by which the service's log knows the request.",
        exclude_if=_is_none,
    )
    reasons: list[str] | None = Field(
        None, description="With `poor_quality`: what is wrong with the walk.", exclude_if=_is_none
    )
    errors: list[dict[str, str]] | None = Field(
        None,
        description="With `invalid_request`: `where` and `message` of each fault.",
        exclude_if=_is_none,
    )


def kind_of(error: Exception) -> Kind:
    """Return the kind of an error, by its class or the nearest base class in the table."""
    return next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)


class ProblemResponse(JSONResponse):
    """A problem as a response; leaves its code in the scope, where logs and metrics read it."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        super().__init__(problem.model_dump(), problem.status, headers)
        self.problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; the ASGI interface."""
        scope["problem"] = self.problem.code
        await super().__call__(scope, receive, send)


def answer(
    kind: Kind,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    faults: list[dict[str, str]] | None = None,
    reasons: Sequence[str] | None = None,
) -> ProblemResponse:
    """Build the response of a problem."""
    problem = Problem(
        type=f"urn:metagait:problem:{kind.code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=kind.code,
        request_id=current_request_id(),
        reasons=None if reasons is None else list(reasons),
        errors=faults,
    )
    return ProblemResponse(problem, {**_EXTRA_HEADERS.get(kind.status, {}), **(headers or {})})


def install(app: FastAPI) -> None:
    """Make `app` answer every error, including the framework's own, with a problem."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    for kind in KINDS:
        app.add_exception_handler(kind, _on_error)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route's problems by status; adds the 500 that every route may answer."""
    return {status: _documented(status) for status in (*statuses, 500)}


def share(openapi: dict[str, Any]) -> None:
    """Put each problem once into an OpenAPI document, and let all operations refer to it."""
    schemas = openapi["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema()
    # FastAPI describes its own body of a 422, but `_on_validation` never sends that.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    shared = openapi["components"].setdefault("responses", {})
    for path in openapi["paths"].values():
        for operation in path.values():
            for status in [status for status in operation["responses"] if int(status) >= 400]:
                shared[f"Problem{status}"] = _documented(int(status))
                reference = {"$ref": f"#/components/responses/Problem{status}"}
                operation["responses"][status] = reference


def _documented(status: int) -> dict[str, Any]:
    """Describe a status: its phrase, its headers, and an example of each kind of problem."""
    kinds = {kind.code: kind for kind in (*KINDS.values(), _INVALID) if kind.status == status}
    # By reference, because FastAPI would document a `model` as application/json as well.
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    content["examples"] = {
        code: {"summary": kind.title, "value": _example(kind)} for code, kind in kinds.items()
    }
    described: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(kinds)}",
        "content": {MEDIA_TYPE: content},
    }
    headers = {
        name: {**_HEADERS[name], "required": True} for name in _EXTRA_HEADERS.get(status, {})
    }
    headers |= {name: _HEADERS[name] for name in _SOME_HEADERS.get(status, ())}
    return described | ({"headers": headers} if headers else {})


def _example(kind: Kind) -> dict[str, Any]:
    return {
        "type": f"urn:metagait:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": DETAILS[kind.code],
        "code": kind.code,
        "request_id": REQUEST_ID,
        **BESIDE.get(kind.code, {}),
    }


def answer_to(error: Exception) -> ProblemResponse:
    """Build the response to an error; details of our own faults go to the log only."""
    kind = kind_of(error)
    if (mend := _MEND.get(type(error))) is not None:
        _LOG.warning("%s: %s", kind.code, error)
        return answer(kind, f"{error}: {mend}")
    if isinstance(error, _INSIDE):
        _LOG.warning("%s: %s", kind.code, error)
        return answer(kind, f"{kind.title}; the service's log says why")
    if kind.status < 500 or kind.status in (503, 507):
        reasons = getattr(error, "reasons", None)
        return answer(kind, str(error) or kind.title, headers=_wait(error), reasons=reasons)
    _LOG.error("a request failed: %s", type(error).__name__, exc_info=error)
    return answer(kind, "something failed inside the service; its log says what")


async def _on_error(_request: Request, error: Exception) -> ProblemResponse:
    return answer_to(error)


def _wait(error: Exception) -> dict[str, str]:
    seconds = getattr(error, "retry_after_s", None)
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _allowed(request: Request) -> dict[str, str]:
    """Name in `Allow` all methods of a path; the framework names only the first route's."""
    routes = [context.original_route for context in iter_route_contexts(request.app.routes)]
    here = [r for r in routes if isinstance(r, APIRoute) and r.path_regex.match(request.url.path)]
    # A pattern that takes any rest of a path also fits longer ones; the first that fits counts.
    meant = [route for route in here if route.path == here[0].path]
    methods = {method for route in meant for method in route.methods or ()}
    methods |= {"HEAD"} if "GET" in methods else set()
    return {"Allow": ", ".join(sorted(methods))} if methods else {}


async def _on_http(request: Request, error: Exception) -> ProblemResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    phrase = HTTPStatus(status).phrase
    kind = Kind(status, phrase.lower().replace(" ", "_"), phrase)
    detail = str(error.detail) if isinstance(error, HTTPException) else phrase
    headers = getattr(error, "headers", None) or {}
    if status == 405:
        headers |= _allowed(request)
    return answer(kind, _said(request, detail, phrase, headers), headers=headers)


def _said(request: Request, detail: str, phrase: str, headers: Mapping[str, str]) -> str:
    """Return the detail; says what was expected if the framework gives only a phrase."""
    if detail == phrase and phrase == "Not Found":
        path = request.url.path[:200]
        return f"expected a path that /openapi.json lists, with no slash at its end, got {path!r}"
    if detail == phrase and "Allow" in headers:
        return f"expected {headers['Allow']} here, got {request.method[:20]}"
    return detail


async def _on_validation(_request: Request, error: Exception) -> ProblemResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    named = [
        {"where": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]}
        for fault in faults
    ]
    sentence = "; ".join(f"{fault['where']}: {fault['message']}" for fault in named)
    return answer(_INVALID, sentence, faults=named)
