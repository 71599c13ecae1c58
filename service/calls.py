"""The calls that both Python clients make: what they send, and the types of the answers.

Bodies are built once and kept in memory, so that a call can be repeated unchanged.
"""

import io
import json
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from service import schemas
from service.archives import natural_key
from service.errors import NoWalksError
from service.packed import pack

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
FILES = frozenset({".zip", ".npy", ".npz", ".mgpk", ".mp4", ".avi"})

WalkSource = Path | str | Sequence[Path] | NDArray[Any]
B = TypeVar("B", bound=BaseModel)
_Part = tuple[str, tuple[str, bytes]]


@dataclass(frozen=True)
class Call(Generic[B]):
    """One request, and the type of its answer's body."""

    method: str
    path: str
    body: type[B]
    options: dict[str, Any] = field(default_factory=dict)
    may_repeat: bool = True
    """Whether to repeat it if the service is busy or the connection is lost."""


def enroll(
    subject: str,
    walk: WalkSource,
    metadata: Mapping[str, Any] | None,
    *,
    captured_at: datetime | None,
    consent: schemas.Consent | None,
    force: bool,
    key: str | None,
) -> Call[schemas.Enrolled]:
    """Build the call to enrol a walk."""
    fields = {"subject": subject, **_metadata(metadata)}
    if captured_at is not None:
        fields["captured_at"] = captured_at.isoformat()
    if consent is not None:
        fields["consent"] = consent.model_dump_json()
    if force:
        fields["force"] = "true"
    return _post("/enroll", schemas.Enrolled, fields, _files(walk), key)


def identify(
    walk: WalkSource, limit: int, metadata: Mapping[str, Any] | None, key: str | None
) -> Call[schemas.Identified]:
    """Build the call to ask whose walk it is."""
    fields = {"limit": str(limit), **_metadata(metadata)}
    return _post("/identify", schemas.Identified, fields, _files(walk), key)


def identify_batch(
    walks: Sequence[WalkSource], limit: int, key: str | None
) -> Call[schemas.IdentifiedBatch]:
    """Build the call to ask whose walks they are."""
    if not walks:
        raise NoWalksError("expected at least one walk to identify, got none")
    files = [("sequence", ("walk", _as_file(walk))) for walk in walks]
    return _post("/identify/batch", schemas.IdentifiedBatch, {"limit": str(limit)}, files, key)


def verify(
    subject: str, walk: WalkSource, metadata: Mapping[str, Any] | None, key: str | None
) -> Call[schemas.Verified]:
    """Build the call to ask whether a walk is a subject's."""
    fields = {"subject": subject, **_metadata(metadata)}
    return _post("/verify", schemas.Verified, fields, _files(walk), key)


def subjects(limit: int, after: str | None) -> Call[schemas.Subjects]:
    """Build the call for a page of subjects."""
    return Call("GET", "/subjects", schemas.Subjects, {"params": _page(limit, after)})


def subject(subject: str, limit: int, after: str | None) -> Call[schemas.SubjectDetail]:
    """Build the call for a subject with a page of its samples."""
    options = {"params": _page(limit, after)}
    return Call("GET", _subject_path(subject), schemas.SubjectDetail, options)


def erase_subject(subject: str) -> Call[schemas.Erased]:
    """Build the call to erase a subject."""
    return Call("DELETE", _subject_path(subject), schemas.Erased)


def erase_sample(sample_id: str) -> Call[schemas.Erased]:
    """Build the call to erase a sample."""
    return Call("DELETE", f"/samples/{quote(sample_id, safe='')}", schemas.Erased)


def info() -> Call[schemas.Info]:
    """Build the call to ask what runs."""
    return Call("GET", "/info", schemas.Info)


def ready() -> Call[schemas.Ready]:
    """Build the call to ask whether it is ready now, which is never repeated."""
    return Call("GET", "/readyz", schemas.Ready, may_repeat=False)


def _post(
    path: str, body: type[B], fields: dict[str, str], files: list[_Part], key: str | None
) -> Call[B]:
    """Build a POST of walks with an Idempotency-Key, so that it can be repeated."""
    headers = {"Idempotency-Key": uuid.uuid4().hex if key is None else key}
    return Call("POST", path, body, {"data": fields, "files": files, "headers": headers})


def _metadata(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    return {"metadata": json.dumps(dict(metadata))} if metadata else {}


def _page(limit: int, after: str | None) -> dict[str, str]:
    return {"limit": str(limit)} if after is None else {"limit": str(limit), "after": after}


def _subject_path(subject: str) -> str:
    return f"/subjects/{quote(subject, safe='')}"


def _files(walk: WalkSource) -> list[_Part]:
    """Turn a walk into form files: one `sequence`, or several `frames`."""
    if isinstance(walk, np.ndarray | Path | str):
        return [("sequence", ("walk", _as_file(walk)))]
    return [("frames", ("frame", _read(path))) for path in _pictures(walk)]


def _pictures(walk: Sequence[Path]) -> list[Path]:
    if isinstance(walk, Sequence) and walk and all(isinstance(path, Path) for path in walk):
        return list(walk)
    raise NoWalksError(
        "expected a walk as a path, an array uint8 or bool [frames, height, width], or a list of "
        f"paths of pictures, got {type(walk).__name__}"
    )


def _as_file(walk: WalkSource) -> bytes:
    """Return a walk as the bytes of one file that the service reads."""
    if isinstance(walk, np.ndarray):
        return pack(walk)
    if not isinstance(walk, Path | str):
        return _zipped(_pictures(walk))
    path = Path(walk)
    if path.is_dir():
        return _zipped([child for child in path.iterdir() if child.suffix.lower() in PICTURES])
    if not path.is_file():
        raise NoWalksError(f"expected a file or a folder of pictures at {path}, got nothing")
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoWalksError(
            f"expected a file that can be read at {path}, got: {error.strerror}"
        ) from error


def _zipped(pictures: Sequence[Path]) -> bytes:
    """Put pictures into a zip archive, stored, because they are compressed already."""
    if not pictures:
        raise NoWalksError("expected PNG or JPEG pictures, got none")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(pictures, key=lambda picture: natural_key(picture.name)):
            # Not by its path, because zip cannot express file times before 1980.
            archive.writestr(path.name, _read(path))
    return file.getvalue()
