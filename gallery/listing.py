"""Lists who is enrolled and with what consent: subjects and samples, without their walks."""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, LargeBinary, Select, Text, cast, func, select

from gallery import audit
from gallery.consents import consents_of, is_expired, list_consents, replace_consent
from gallery.finding import (
    SAMPLE,
    find_sample,
    find_subject,
    first_subject,
    moment_from,
    sample_from,
)
from gallery.generations import lock, read_head
from gallery.records import Consent, ConsentEntry, SubjectDetail, SubjectSummary
from gallery.schema import consents, samples, subjects
from gallery.store import Store

# A byte as it is shown where it is no UTF-8; those below 0x80 always are.
_DAMAGED = re.compile(rb"\\x([89a-f][0-9a-f])")
# A subquery counts per subject on the page; GROUP BY would also count everybody beyond it.
_COUNT = select(func.count()).where(samples.c.subject == subjects.c.id).scalar_subquery()
_SUMMARY: Select[Any] = select(subjects.c.subject, subjects.c.created_at, _COUNT.label("n"))


def list_subjects(
    store: Store, limit: int, after: str | None, *, expired: bool = False
) -> tuple[SubjectSummary, ...]:
    """Return up to `limit` subjects ordered by id, starting behind `after`.

    With `expired`, only subjects with an expired consent, their own or one for a sample of theirs.
    """
    query = (
        _SUMMARY.where(subjects.c.gallery == store.gallery_id)
        .order_by(subjects.c.subject)
        .limit(limit)
    )
    query = only_expired(query) if expired else query
    with store.database.reading() as connection:
        if after is not None:
            query = query.where(subjects.c.subject > as_stored(connection, store, after))
        return _summaries(connection, query)


def summaries_of(connection: Connection, rows: Sequence[int]) -> tuple[SubjectSummary, ...]:
    """Return the subjects of some rows, ordered by id."""
    query = _SUMMARY.where(subjects.c.id.in_(rows)).order_by(subjects.c.subject)
    return _summaries(connection, query)


def _summaries(connection: Connection, query: Select[Any]) -> tuple[SubjectSummary, ...]:
    return tuple(
        SubjectSummary(row.subject, row.n, moment_from(row.created_at))
        for row in connection.execute(query)
    )


def only_expired(query: Select[Any]) -> Select[Any]:
    """Limit a query of subjects to those with an expired consent, of theirs or of a sample."""
    return query.where(subjects.c.id.in_(select(consents.c.subject).where(is_expired())))


def as_stored(connection: Connection, store: Store, subject: str) -> Any:
    """Return an id as it is compared: one shown with damaged bytes as `\\xff`, by those bytes.

    Compared as it is shown it would stand before others, which a list would then repeat for ever.
    """
    raw = _DAMAGED.sub(lambda shown: bytes([int(shown[1], 16)]), subject.encode())
    is_shown_alike = first_subject(connection, store, subject) is not None
    if raw == subject.encode() or is_shown_alike or connection.dialect.name != "sqlite":
        return subject  # a server keeps no text that is damaged so
    return cast(raw, LargeBinary).cast(Text)


def describe_subject(
    store: Store, subject: str, limit: int | None, after: str | None
) -> SubjectDetail:
    """Return a subject with `limit` of its samples (None: all), oldest first, behind `after`.

    Raises:
        SubjectNotFound: there is no such subject.
        SampleNotFound: there is no sample `after`.

    """
    with store.database.reading() as connection:
        found = find_subject(connection, store, subject)
        model = read_head(connection, store.gallery_id).model
        consented = consents_of(connection, found.id)
        query = SAMPLE.where(samples.c.subject == found.id).order_by(samples.c.id).limit(limit)
        if after is not None:
            query = query.where(samples.c.id > find_sample(connection, store, after).id)
        rows = connection.execute(query).all()
    created_at, consent = moment_from(found.created_at), consented.get(None)
    lost = {"created_at": created_at is None, "consent": consent and consent.is_damaged}
    return SubjectDetail(
        subject=subject,
        created_at=created_at,
        consent=consent,
        damaged=tuple(what for what in lost if lost[what]),
        samples=tuple(sample_from(row, model, consented.get(row.id)) for row in rows),
    )


def record_consent(store: Store, subject: str, consent: Consent, actor: str) -> None:
    """Record a subject's consent in place of the previous one.

    Raises:
        SubjectNotFound: there is no such subject.

    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        found = find_subject(connection, store, subject)
        replace_consent(connection, found.id, None, consent)
        generation = read_head(connection, store.gallery_id).generation
        entry = audit.Entry("consent", "recorded", actor, generation, found.token)
        audit.append(connection, store.gallery_id, [entry])


def consents_in(store: Store, *, expired: bool) -> tuple[ConsentEntry, ...]:
    """Return all consents, or only the expired ones, soonest to expire first."""
    with store.database.reading() as connection:
        return list_consents(connection, store.gallery_id, expired=expired)
