"""The calls that both Python clients make: what they send, and the types of the answers.

Bodies are built once and kept in memory, so that a call can be repeated unchanged.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from service import schemas
from service.client.walk_files import Part, WalkSource, form_files, sequence
from service.errors import NoWalksError

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[B]):
    """One request, and the type of its answer's body."""

    method: str
    path: str
    body: type[B]
    options: dict[str, Any] = field(default_factory=dict)
    may_repeat: bool = True
    """Whether to repeat it if the service is busy or the connection is lost."""
    gone: str | None = None
    """The code that answers a deletion if there is nothing (more) to delete."""


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
    return _post("/enroll", schemas.Enrolled, fields, form_files(walk), key)


def identify(
    walk: WalkSource, limit: int, metadata: Mapping[str, Any] | None, key: str | None
) -> Call[schemas.Identified]:
    """Build the call to ask whose walk it is."""
    fields = {"limit": str(limit), **_metadata(metadata)}
    return _post("/identify", schemas.Identified, fields, form_files(walk), key)


def identify_batch(
    walks: Sequence[WalkSource], limit: int, metadata: Mapping[str, Any] | None, key: str | None
) -> Call[schemas.IdentifiedBatch]:
    """Build the call to ask whose walks they are."""
    if not walks:
        raise NoWalksError("expected at least one walk to identify, got none")
    fields = {"limit": str(limit), **_metadata(metadata)}
    files = [sequence(walk) for walk in walks]
    return _post("/identify/batch", schemas.IdentifiedBatch, fields, files, key)


def verify(
    subject: str, walk: WalkSource, metadata: Mapping[str, Any] | None, key: str | None
) -> Call[schemas.Verified]:
    """Build the call to ask whether a walk is a subject's."""
    fields = {"subject": subject, **_metadata(metadata)}
    return _post("/verify", schemas.Verified, fields, form_files(walk), key)


def preview(walk: WalkSource) -> Call[schemas.Preview]:
    """Build the call to show a walk as the model sees it."""
    return Call("POST", "/preview", schemas.Preview, {"files": form_files(walk)})


def subjects(
    limit: int, after: str | None, *, expired: bool, search: str
) -> Call[schemas.Subjects]:
    """Build the call for a page of subjects."""
    params = {**_page(limit, after), **({"expired": "true"} if expired else {})}
    params |= {"search": search} if search else {}
    return Call("GET", "/subjects", schemas.Subjects, {"params": params})


def subject(subject: str, limit: int, after: str | None) -> Call[schemas.SubjectDetail]:
    """Build the call for a subject with a page of its samples."""
    options = {"params": _page(limit, after)}
    return Call("GET", _path("subjects", subject), schemas.SubjectDetail, options)


def record_consent(subject: str, consent: schemas.Consent) -> Call[schemas.Consent]:
    """Build the call to record why a subject may be kept."""
    path = _path("subjects", subject, "consent")
    return Call("PUT", path, schemas.Consent, {"json": consent.model_dump(mode="json")})


def erase_subject(subject: str) -> Call[schemas.Erased]:
    """Build the call to erase a subject."""
    path = _path("subjects", subject)
    return Call("DELETE", path, schemas.Erased, gone="subject_not_found")


def erase_sample(sample_id: str) -> Call[schemas.Erased]:
    """Build the call to erase a sample."""
    path = _path("samples", sample_id)
    return Call("DELETE", path, schemas.Erased, gone="sample_not_found")


def receipt(receipt_id: str) -> Call[schemas.Receipt]:
    """Build the call to show the receipt of an erasure again."""
    return Call("GET", _path("receipts", receipt_id), schemas.Receipt)


def walk(sample_id: str) -> Call[schemas.Picture]:
    """Build the call for the silhouettes of a sample."""
    return Call("GET", _path("samples", sample_id, "walk"), schemas.Picture)


def galleries() -> Call[schemas.Galleries]:
    """Build the call for the list of galleries."""
    return Call("GET", "/galleries", schemas.Galleries)


def gallery(name: str) -> Call[schemas.GalleryDetail]:
    """Build the call to show a gallery."""
    return Call("GET", _path("galleries", name), schemas.GalleryDetail)


def make_gallery(name: str) -> Call[schemas.GalleryDetail]:
    """Build the call to make a gallery."""
    return Call("PUT", _path("galleries", name), schemas.GalleryDetail)


def change_gallery(name: str, changes: schemas.GalleryChanges) -> Call[schemas.GalleryDetail]:
    """Build the call to change some settings of a gallery."""
    options = {"json": changes.model_dump(exclude_none=True)}
    return Call("PATCH", _path("galleries", name), schemas.GalleryDetail, options)


def delete_gallery(name: str) -> Call[schemas.Galleries]:
    """Build the call to delete a gallery."""
    path = _path("galleries", name)
    return Call("DELETE", path, schemas.Galleries, gone="gallery_not_found")


def calibrate(target_fpir: float, key: str | None) -> Call[schemas.Calibration]:
    """Build the call to measure the threshold."""
    # Not a `CalibrationWanted`, so that the service refuses a wrong number, as it does elsewhere.
    options = {"json": {"target_fpir": target_fpir}, "headers": _once(key)}
    return Call("POST", "/calibrate", schemas.Calibration, options)


def rebuild(model: str | None, key: str | None) -> Call[schemas.Job]:
    """Build the call to begin a rebuild."""
    options = {"json": {} if model is None else {"model": model}, "headers": _once(key)}
    return Call("POST", "/rebuild", schemas.Job, options)


def jobs() -> Call[schemas.Jobs]:
    """Build the call for the latest rebuilds."""
    return Call("GET", "/jobs", schemas.Jobs)


def job(job_id: str) -> Call[schemas.Job]:
    """Build the call to show a rebuild."""
    return Call("GET", _path("jobs", job_id), schemas.Job)


def cancel_job(job_id: str) -> Call[schemas.Job]:
    """Build the call to stop a rebuild."""
    return Call("DELETE", _path("jobs", job_id), schemas.Job)


def info() -> Call[schemas.Info]:
    """Build the call to ask what runs."""
    return Call("GET", "/info", schemas.Info)


def alive() -> Call[schemas.Alive]:
    """Build the call to ask whether it is alive now, which is never repeated."""
    return Call("GET", "/livez", schemas.Alive, may_repeat=False)


def ready() -> Call[schemas.Ready]:
    """Build the call to ask whether it is ready now, which is never repeated."""
    return Call("GET", "/readyz", schemas.Ready, may_repeat=False)


def _post(
    path: str, body: type[B], fields: dict[str, str], files: list[Part], key: str | None
) -> Call[B]:
    """Build a POST of walks with an Idempotency-Key, so that it can be repeated."""
    return Call("POST", path, body, {"data": fields, "files": files, "headers": _once(key)})


def _once(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex if key is None else key}


def _metadata(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    return {"metadata": json.dumps(dict(metadata))} if metadata else {}


def _page(limit: int, after: str | None) -> dict[str, str]:
    return {"limit": str(limit)} if after is None else {"limit": str(limit), "after": after}


def _path(*parts: str) -> str:
    return "".join(f"/{_segment(part)}" for part in parts)


def _segment(part: str) -> str:
    # httpx takes `.` and `..` out of a path, and what is before `..`, and would ask for another.
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")
