"""Describes for the OpenAPI document the bodies of the routes that take an upload."""

from collections.abc import Mapping
from typing import Any

from gallery import SUBJECT_MAX_CHARACTERS
from service.fields import DEFAULT_LIMIT, MAX_LIMIT
from service.packed import MEDIA_TYPE

_FILE = {"type": "string", "format": "binary"}
_SEQUENCE = (
    "A walk as one file: a .zip of PNG or JPEG pictures in the natural order of their names, a "
    ".npy or .npz array of uint8 or bool [frames, height, width], the packed form, or a silhouette "
    "video (.mp4 or .avi). It is recognised by its content, not by its name."
)
ENROLMENT: Mapping[str, str] = {
    "subject": f"Your id of the person: 1 to {SUBJECT_MAX_CHARACTERS} printable characters. A new "
    "id makes a new subject.",
    "metadata": "A JSON object of at most 16 KiB, stored with the sample. Its `view` (the angle "
    "between walking direction and camera, in degrees) is used in answers.",
    "captured_at": "When the walk was recorded: ISO 8601 with a time zone.",
    "consent": "Why the walk may be stored: a JSON object with `basis`, and optionally `reference` "
    "and `expires`.",
    "force": "`true` enrols the walk even if its quality is poor. It needs a key with the scope "
    "`review`.",
}
"""The text fields of an enrolment, and what they are for."""
LIMIT = f"Most candidates in the answer, 1 to {MAX_LIMIT} (default {DEFAULT_LIMIT})."
VIEW = (
    "A JSON object. Its `view`, the angle between walking direction and camera in degrees, is "
    "compared with those of the candidates' samples. Nothing else in it is read."
)
# Schemas of the text fields; an object in a form or query is sent as JSON (OpenAPI 3.1, 4.8.15).
_TEXTS: dict[str, dict[str, Any]] = {
    "subject": {"type": "string", "minLength": 1, "maxLength": SUBJECT_MAX_CHARACTERS},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    "metadata": {"type": "object"},
    "consent": {"$ref": "#/components/schemas/ConsentWanted"},
    "captured_at": {"type": "string", "format": "date-time"},
    "force": {"type": "string", "enum": ["true", "false"]},
}


def walk_body(*required: str, **texts: str) -> dict[str, Any]:
    """Describe a walk, as a form with text fields or as a bare file with those in the query.

    Args:
        required: names among `texts` that must be given.
        texts: the text fields by name and description.

    """
    properties: dict[str, Any] = {
        "sequence": {**_FILE, "description": _SEQUENCE},
        "frames": {
            "type": "array",
            "items": _FILE,
            "description": "Instead of `sequence`: repeated PNG or JPEG pictures, in order.",
        },
    }
    described = _body(properties, required, texts)
    described["requestBody"]["content"] |= {
        kind: {"schema": {**_FILE, "description": f"{_SEQUENCE} Text fields go into the query."}}
        for kind in (MEDIA_TYPE, "application/zip", "application/octet-stream")
    }
    described["parameters"] = [_parameter(name, words) for name, words in texts.items()]
    return described


def batch_body(**texts: str) -> dict[str, Any]:
    """Describe a form of several walks with text fields."""
    files = {
        "type": "array",
        "items": _FILE,
        "description": f"Repeated, once for each walk. {_SEQUENCE}",
    }
    return _body({"sequence": files}, ("sequence",), texts)


def _parameter(name: str, words: str) -> dict[str, Any]:
    """Describe a text field as a query parameter."""
    schema = _TEXTS[name]
    is_text = schema.get("type") in ("string", "integer")
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"{words} Send it here or in the form.",
        **(
            {"schema": schema} if is_text else {"content": {"application/json": {"schema": schema}}}
        ),
    }


def _body(
    files: dict[str, Any], required: tuple[str, ...], texts: dict[str, str]
) -> dict[str, Any]:
    fields = {name: {**_TEXTS[name], "description": words} for name, words in texts.items()}
    schema: dict[str, Any] = {"type": "object", "properties": {**files, **fields}}
    if required:
        schema["required"] = list(required)
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
