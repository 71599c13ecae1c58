"""Consents: why a person may be in the gallery, and until when.

A consent is recorded for a subject or for one of its samples; a newer one replaces the previous
one. Expiry erases nothing: that is up to the operator, who can list the expired consents.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select

from gallery.finding import moment_from
from gallery.generations import now
from gallery.records import Consent, ConsentEntry
from gallery.schema import consents, samples, subjects


def replace_consent(
    connection: Connection, subject: int, sample: int | None, consent: Consent
) -> None:
    """Record the consent of a subject row, or of one of its sample rows."""
    is_it = and_(consents.c.subject == subject, consents.c.sample.is_not_distinct_from(sample))
    connection.execute(delete(consents).where(is_it))
    values = {
        "subject": subject,
        "sample": sample,
        "basis": consent.basis,
        "reference": consent.reference,
        "expires": None if consent.expires is None else written(consent.expires),
        "recorded_at": now(),
    }
    connection.execute(insert(consents).values(values))


def consents_of(connection: Connection, subject: int) -> dict[int | None, Consent]:
    """Return a subject row's consents by sample row; the subject's own is under None."""
    rows = connection.execute(select(consents).where(consents.c.subject == subject))
    return {row.sample: _consent(row) for row in rows}


def list_consents(
    connection: Connection, gallery: int, *, expired: bool
) -> tuple[ConsentEntry, ...]:
    """List the consents of a gallery, or only the expired ones, soonest to expire first."""
    query = (
        select(consents, subjects.c.subject.label("name"), samples.c.sample_id)
        .join(subjects, subjects.c.id == consents.c.subject)
        .outerjoin(samples, samples.c.id == consents.c.sample)
        .where(subjects.c.gallery == gallery)
        .order_by(consents.c.expires.nulls_last(), subjects.c.subject, consents.c.id)
    )
    rows = connection.execute(query.where(is_expired()) if expired else query)
    return tuple(
        ConsentEntry(row.name, row.sample_id, _consent(row), moment_from(row.recorded_at))
        for row in rows
    )


def is_expired() -> ColumnElement[bool]:
    """Return the SQL condition for consents that have expired by now."""
    # All moments are stored in one format, so comparing the texts compares the times.
    return consents.c.expires <= now()


def written(moment: datetime) -> str:
    """Format an aware datetime as the tables store it: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _consent(row: Row[Any]) -> Consent:
    expires = moment_from(row.expires)
    is_damaged = expires is None and row.expires is not None
    return Consent(row.basis, row.reference, expires, is_damaged)
