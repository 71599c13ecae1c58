"""The text fields of a form -> values, or a sentence about what was expected."""

import json
import math
from collections.abc import Mapping
from typing import Any

from service.errors import InvalidFieldError

DEFAULT_LIMIT = 5
MAX_LIMIT = 100


def subject_of(fields: Mapping[str, str]) -> str:
    """Read `subject`, which must be there; the gallery checks what it holds."""
    subject = fields.get("subject")
    if subject is None:
        raise InvalidFieldError("expected the form field `subject`, got none")
    if subject in (".", ".."):
        # Clients resolve these in `/subjects/..`, so that nobody could be erased by such an id.
        raise InvalidFieldError(f"expected a `subject` that can be named in a URL, got {subject!r}")
    return subject


def limit_of(fields: Mapping[str, str]) -> int | None:
    """Read `limit`, a number of candidates; None when it is not given."""
    text = fields.get("limit")
    if text is None:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    if not is_number or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidFieldError(f"expected `limit` from 1 to {MAX_LIMIT}, got {text[:20]!r}")
    return int(text)


def metadata_of(fields: Mapping[str, str]) -> dict[str, Any] | None:
    """Read `metadata`: JSON in the strict sense, so NaN and infinities are none of it."""
    text = fields.get("metadata")
    if not text:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
        # A lone surrogate is legal in JSON text and illegal in every place it could be kept.
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
