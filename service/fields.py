"""Parses the text fields of an upload; every function raises InvalidFieldError on a bad value."""

import json
import math
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gallery import Consent
from service import schemas
from service.errors import InvalidFieldError

DEFAULT_LIMIT = 5
MAX_LIMIT = 100


def composed(subject: str) -> str:
    """Return a subject id in the Unicode form (NFC) in which the gallery stores it."""
    return unicodedata.normalize("NFC", subject)


def subject_of(fields: Mapping[str, str]) -> str:
    """Return the required `subject`, composed; the gallery checks its characters."""
    given = fields.get("subject")
    if given is None:
        raise InvalidFieldError(
            "expected the field `subject` in the form, or in the query beside a bare body, got none"
        )
    subject = composed(given)
    if subject in (".", ".."):
        # Browsers and most clients take these for steps in a path, however they are written.
        raise InvalidFieldError(
            f"expected a `subject` that a path can name, got {subject!r}, which is a step in a path"
        )
    return subject


def limit_of(fields: Mapping[str, str]) -> int | None:
    """Return `limit`, the most candidates; None if it is not given."""
    text = fields.get("limit")
    if text is None:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    if not is_number or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidFieldError(f"expected `limit` from 1 to {MAX_LIMIT}, got {text[:20]!r}")
    return int(text)


def captured_at_of(fields: Mapping[str, str]) -> datetime | None:
    """Return `captured_at`, given in ISO 8601; the gallery checks that it has a time zone."""
    text = fields.get("captured_at")
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidFieldError(
            f"expected `captured_at` as a time in ISO 8601, got {text[:40]!r}"
        ) from error


def consent_of(fields: Mapping[str, str]) -> Consent | None:
    """Return `consent`, given as a JSON object of `basis`, `reference` and `expires`."""
    text = fields.get("consent")
    if not text:
        return None
    try:
        return schemas.ConsentWanted.model_validate_json(text).of_gallery()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "consent"
        raise InvalidFieldError(
            f"expected `consent` as a JSON object of basis, reference and expires, got a wrong "
            f"{where}: {fault['msg']}"
        ) from error


def force_of(fields: Mapping[str, str]) -> bool:
    """Return `force`; False if it is not given."""
    text = fields.get("force", "false")
    if text not in ("true", "false"):
        raise InvalidFieldError(f"expected `force` as true or false, got {text[:20]!r}")
    return text == "true"


def metadata_of(fields: Mapping[str, str]) -> dict[str, Any] | None:
    """Return `metadata`, given as strict JSON, which has neither NaN nor infinities."""
    text = fields.get("metadata")
    if not text:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
        # A lone surrogate is legal in JSON text, but nothing could store it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidFieldError("expected `metadata` as a JSON object, got other text") from error
    if not isinstance(value, dict):
        raise InvalidFieldError(f"expected `metadata` as a JSON object, got {text[:40]!r}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise ValueError(f"expected a finite number, got {text[:40]}")
