"""The bodies that routes with an upload take, as their OpenAPI document shows them."""

from typing import Any

from service.packed import MEDIA_TYPE

_FILE = {"type": "string", "format": "binary"}
_SEQUENCE = (
    "one walk as a file: a .zip of PNG or JPEG frames (natural order of names), a .npy or .npz "
    "array of uint8 or bool [frames, height, width], the packed form, or a silhouette video .mp4 "
    "or .avi; its content tells which"
)


def walk_body(*required: str, **texts: str) -> dict[str, Any]:
    """Describe a walk as a form with text fields, or as a bare file with those in the query.

    Args:
        required: names among `texts` that must be given.
        texts: the text fields by name and description.

    """
    properties: dict[str, Any] = {
        "sequence": {**_FILE, "description": _SEQUENCE},
        "frames": {
            "type": "array",
            "items": _FILE,
            "description": "instead of `sequence`: PNG or JPEG pictures, in order",
        },
    }
    described = _body(properties, required, texts)
    described["requestBody"]["content"] |= {
        kind: {"schema": {**_FILE, "description": f"{_SEQUENCE}; text fields go into the query"}}
        for kind in (MEDIA_TYPE, "application/zip", "application/octet-stream")
    }
    described["parameters"] = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": f"{words}; in the form or here",
            "schema": {"type": "string"},
        }
        for name, words in texts.items()
    ]
    return described


def batch_body(**texts: str) -> dict[str, Any]:
    """Describe a form with several walks."""
    files = {"type": "array", "items": _FILE, "description": f"repeated: {_SEQUENCE}"}
    return _body({"sequence": files}, ("sequence",), texts)


def _body(
    files: dict[str, Any], required: tuple[str, ...], texts: dict[str, str]
) -> dict[str, Any]:
    fields = {name: {"type": "string", "description": words} for name, words in texts.items()}
    schema: dict[str, Any] = {"type": "object", "properties": {**files, **fields}}
    if required:
        schema["required"] = list(required)
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
