"""Look up one subject or one sample of a gallery, and turn its row into a record."""

import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, Select, select

from gallery.errors import SampleNotFound, SubjectNotFound
from gallery.generations import Model
from gallery.records import Consent, Sample
from gallery.schema import samples, subjects

if TYPE_CHECKING:
    from gallery.store import Store

_LOG = logging.getLogger("metagait.gallery")

SAMPLE: Select[Any] = select(
    samples.c.id,
    samples.c.sample_id,
    samples.c.created_at,
    samples.c.frames,
    samples.c.metadata,
    samples.c.captured_at,
    samples.c.subject.label("subject_row"),
    subjects.c.subject,
    subjects.c.token,
).join(subjects, subjects.c.id == samples.c.subject)
"""Selects the rows that `sample_from` reads."""


def find_subject(connection: Connection, store: "Store", subject: str) -> Row[Any]:
    """Return a subject's row.

    Raises:
        SubjectNotFound: there is no such subject.

    """
    found = first_subject(connection, store, subject)
    if found is None:
        raise no_such_subject(store, subject)
    return found


def no_such_subject(store: "Store", subject: str) -> SubjectNotFound:
    """Return the error for a subject that is not in the gallery."""
    return SubjectNotFound(
        f"expected a subject of the gallery {store.name}, got {subject!r}, who is not in it"
    )


def find_sample(connection: Connection, store: "Store", sample_id: str) -> Row[Any]:
    """Return the row of `SAMPLE` with this sample id.

    Raises:
        SampleNotFound: there is no such sample.

    """
    found = first_sample(connection, store, sample_id)
    if found is None:
        raise SampleNotFound(
            f"expected a sample of the gallery {store.name}, got {sample_id!r}, which is not in it"
        )
    return found


def first_subject(connection: Connection, store: "Store", subject: str) -> Row[Any] | None:
    """Return a subject's row; None if there is none."""
    is_it = (subjects.c.gallery == store.gallery_id) & (subjects.c.subject == subject)
    return connection.execute(select(subjects).where(is_it)).first()


def first_sample(connection: Connection, store: "Store", sample_id: str) -> Row[Any] | None:
    """Return the row of `SAMPLE` with this sample id; None if there is none."""
    is_it = (samples.c.gallery == store.gallery_id) & (samples.c.sample_id == sample_id)
    return connection.execute(SAMPLE.where(is_it)).first()


def metadata_from(row: Row[Any]) -> dict[str, Any] | None:
    """Return a row's metadata; None, with a warning, if it can no longer be read."""
    try:
        metadata = json.loads(row.metadata)
        # Python also reads what JSON cannot hold, such as NaN or lone surrogates; no answer could.
        json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        metadata = None
    if isinstance(metadata, dict):
        return metadata
    _LOG.warning(
        "the metadata of the sample %s cannot be read: expected a JSON object; searches find "
        "the sample without its view: erase that sample by its id and enrol its walk again, or "
        "restore a backup",
        row.sample_id,
    )
    return None


def sample_from(row: Row[Any], model: Model, consent: Consent | None) -> Sample:
    """Return the record of a row of `SAMPLE`, whose live embedding is by `model`."""
    created_at, captured_at = moment_from(row.created_at), moment_from(row.captured_at)
    metadata = metadata_from(row)
    lost = {
        "created_at": created_at is None,
        "captured_at": captured_at is None and row.captured_at is not None,
        "metadata": metadata is None,
        "consent": consent is not None and consent.is_damaged,
    }
    for what in ("created_at", "captured_at", "consent"):
        if lost[what]:
            _LOG.warning(
                "%s of the sample %s cannot be read: expected a time; it is listed without it",
                what,
                row.sample_id,
            )
    return Sample(
        sample_id=row.sample_id,
        subject=row.subject,
        created_at=created_at,
        frames=row.frames,
        metadata=metadata or {},
        damaged=tuple(what for what in lost if lost[what]),
        model_id=model.model_id,
        captured_at=captured_at,
        consent=consent,
    )


def moment_from(text: str | None) -> datetime | None:
    """Parse a moment as the tables store it; None if it is missing or damaged."""
    try:
        moment = datetime.fromisoformat(text or "")
    except (ValueError, TypeError):
        return None
    # All moments are written with a time zone: without one, this is damaged.
    return None if moment.utcoffset() is None else moment
