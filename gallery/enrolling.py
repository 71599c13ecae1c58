"""Enrolling: checks and packs a sample, then writes it in one transaction."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, insert, select, update

from gallery import audit
from gallery.adopted_key import check_master_key_of_now
from gallery.checks import (
    check_embedding,
    check_particulars,
    check_silhouettes,
    metadata_text,
)
from gallery.consents import consents_of, replace_consent, written
from gallery.contents import insert_embeddings, insert_silhouettes, seal_subject
from gallery.current import Current
from gallery.database import vault_of
from gallery.errors import EnrolmentConflict, SampleDamaged, SubjectNotFound
from gallery.finding import SAMPLE, first_sample, first_subject, sample_from
from gallery.generations import (
    Head,
    Model,
    adopt_if_empty,
    lock,
    now,
    read_head,
    record,
    require_model,
)
from gallery.packing import PackedSilhouettes, pack_silhouettes, sample_id
from gallery.records import Conflict, Consent, Enrolment
from gallery.schema import EMBEDDINGS_ONLY, ENROLLED, samples, silhouettes, subjects
from gallery.settings import OFF, REFUSE
from gallery.store import Store


@dataclass(frozen=True)
class NewSample:
    """A checked and packed walk, ready to be stored."""

    sample_id: str
    subject: str
    embedding: NDArray[np.float32]
    silhouettes: PackedSilhouettes | None
    metadata: str
    captured_at: str | None = None
    consent: Consent | None = None
    actor: str = audit.LOCAL


def new_sample(
    subject: str,
    embedding: NDArray[np.float32],
    embedding_length: int,
    *,
    silhouettes: NDArray[np.uint8] | None,
    metadata: Mapping[str, Any] | None,
    captured_at: datetime | None,
    consent: Consent | None,
    actor: str,
) -> NewSample:
    """Check and pack the arguments of `Gallery.enroll`.

    Raises:
        InvalidInput: one of the arguments is not as `Gallery.enroll` requires.

    """
    check_particulars(subject, metadata=metadata, captured_at=captured_at, consent=consent)
    check_embedding(embedding, embedding_length)
    if silhouettes is not None:
        check_silhouettes(silhouettes)
    return NewSample(
        sample_id=sample_id(subject, embedding if silhouettes is None else silhouettes),
        subject=subject,
        embedding=embedding,
        silhouettes=None if silhouettes is None else pack_silhouettes(silhouettes),
        metadata=metadata_text(metadata),
        captured_at=None if captured_at is None else written(captured_at),
        consent=consent,
        actor=actor,
    )


def find_conflict(
    current: Current, store: Store, subject: str, embedding: NDArray[np.float32]
) -> Conflict | None:
    """Return a conflict if a new sample is nearer to another subject than to its own; else None.

    Enrolments of others between this check and the write are not taken into account.

    Raises:
        EnrolmentConflict: there is a conflict, and the gallery's settings refuse those.

    """
    with current.still() as head:
        setting = current.settings.conflict
        if setting == OFF or not current.knows(subject):
            return None
        if head is None or head.model != current.model:
            return None
        nearest = current.nearest(embedding, 1)[0]
    if nearest.subject == subject:
        return None
    try:
        _, own = store.embeddings_of(subject, head)
    except (SubjectNotFound, SampleDamaged):
        return None  # erased meanwhile, or none of them readable
    own_distance = float(np.linalg.norm(own - embedding, axis=1).min())
    if own_distance <= nearest.distance:
        return None
    if setting == REFUSE:
        raise EnrolmentConflict(
            f"expected a walk of {subject!r} nearest to their own samples, at "
            f"{own_distance:.4g}, got one nearer to {nearest.subject!r}, at "
            f"{nearest.distance:.4g}: this gallery is set to refuse that"
        )
    return Conflict(nearest.subject, nearest.distance, own_distance)


class Written(NamedTuple):
    """The outcome of an enrolment."""

    enrolment: Enrolment
    sealed: bool
    """The subject was stored unencrypted until now, and its plain bytes are to be scrubbed."""


class _Owner(NamedTuple):
    """The row of a new sample's subject."""

    row: int
    added: bool
    sealed: bool


def enroll(store: Store, new: NewSample, model: Model) -> Written:
    """Write one sample, or detect that the same walk of the same subject is already enrolled.

    Raises:
        ModelMismatch: the live generation belongs to another model.
        StoreUnavailable: another process changed the master key after this one opened the store.

    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        head = adopt_if_empty(connection, store.gallery_id, model)
        require_model(head, model)
        known = first_sample(connection, store, new.sample_id)
        if known is not None:
            again = _Again(lambda: new.silhouettes, new.consent, new.actor)
            return _already_enrolled(connection, store, head, known, again)
        return _add(connection, store, head, new)


def enrolled_before(
    store: Store,
    known_as: str,
    model: Model,
    walk: NDArray[np.uint8],
    *,
    consent: Consent | None,
    actor: str,
) -> Written | None:
    """Return the enrolment of a sample that already exists, logged as `enroll` does; else None.

    The walk's silhouettes uint8 `[T, H, W]` are kept if the gallery keeps any and lacks these.

    Raises:
        ModelMismatch: the live generation belongs to another model.

    """
    with store.database.reading() as connection:
        if first_sample(connection, store, known_as) is None:
            return None
    again = _Again(lambda: pack_silhouettes(walk), consent, actor)
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        known = first_sample(connection, store, known_as)
        if known is None:
            return None  # erased in between
        head = read_head(connection, store.gallery_id)
        require_model(head, model)
        return _already_enrolled(connection, store, head, known, again)


class _Again(NamedTuple):
    """What comes with a walk that is enrolled again."""

    packed: Callable[[], PackedSilhouettes | None]
    """Its silhouettes, packed only if they are wanted."""
    consent: Consent | None
    actor: str


def _already_enrolled(
    connection: Connection, store: Store, head: Head, known: Row[Any], again: _Again
) -> Written:
    """Return and log the enrolment of a row of `SAMPLE` that already exists.

    Silhouettes that it lacks are added, so that another model can embed it. If a consent is given,
    it replaces the previous one, as with a new walk.
    """
    before = consents_of(connection, known.subject_row).get(known.id)
    frames, sealed = _completed(connection, store, known, again.packed)
    consent = before if again.consent is None else again.consent
    sample = sample_from(known, head.model, consent)
    sample = replace(sample, frames=frames or sample.frames)
    enrolment = Enrolment(sample, created_subject=False, duplicate=True)
    counts = {"silhouettes": 1} if frames else {}
    _log(connection, store, head, enrolment, token=known.token, actor=again.actor, more=counts)
    if sample.consent is not None and sample.consent != before:
        replace_consent(connection, known.subject_row, known.id, sample.consent)
        entry = audit.Entry("consent", "recorded", again.actor, head.generation, known.token)
        audit.append(connection, store.gallery_id, [entry])
    return Written(enrolment, sealed)


class _Completed(NamedTuple):
    """How many silhouettes a sample got, and whether its subject was sealed for that."""

    frames: int
    sealed: bool


def _completed(
    connection: Connection,
    store: Store,
    known: Row[Any],
    packed: Callable[[], PackedSilhouettes | None],
) -> _Completed:
    """Add the silhouettes of a sample that has none, if the gallery keeps them."""
    is_there = select(silhouettes.c.sample).where(silhouettes.c.sample == known.id)
    if store.retention(connection) == EMBEDDINGS_ONLY or connection.scalar(is_there) is not None:
        return _Completed(0, sealed=False)
    given = packed()
    if given is None:
        return _Completed(0, sealed=False)
    check_master_key_of_now(connection)
    sealed = seal_subject(connection, known.subject_row)
    insert_silhouettes(connection, known.id, given)
    frames = given.shape[0]
    connection.execute(update(samples).where(samples.c.id == known.id).values(frames=frames))
    # Numbered, so that every process counts anew how many samples have none.
    record(connection, store.gallery_id, ENROLLED, [])
    return _Completed(frames, sealed)


def _log(
    connection: Connection,
    store: Store,
    head: Head,
    enrolment: Enrolment,
    *,
    token: str,
    actor: str,
    more: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Record an enrolment, of the subject with this token, in the audit log."""
    outcome = "duplicate" if enrolment.duplicate else "enrolled"
    counts = {"samples": int(not enrolment.duplicate), **more}
    entry = audit.Entry("enrol", outcome, actor, head.generation, token, counts)
    audit.append(connection, store.gallery_id, [entry])


def _add(connection: Connection, store: Store, head: Head, new: NewSample) -> Written:
    """Write and log a sample that does not exist yet."""
    check_master_key_of_now(connection)
    owner = _owner(connection, store, new.subject)
    row = _insert_sample(connection, store, owner.row, new)
    insert_embeddings(connection, head.generation, [row], new.embedding[np.newaxis])
    record(connection, store.gallery_id, ENROLLED, [row])
    if new.consent is not None:
        replace_consent(connection, owner.row, row, new.consent)
    written = connection.execute(SAMPLE.where(samples.c.id == row)).one()
    sample = sample_from(written, head.model, new.consent)
    enrolment = Enrolment(sample, created_subject=owner.added, duplicate=False)
    _log(connection, store, head, enrolment, token=written.token, actor=new.actor)
    return Written(enrolment, owner.sealed)


def _owner(connection: Connection, store: Store, subject: str) -> _Owner:
    """Find or insert the subject's row; a subject older than the master key gets its key now."""
    found = first_subject(connection, store, subject)
    if found is not None:
        return _Owner(found.id, added=False, sealed=seal_subject(connection, found.id))
    token = secrets.token_hex(16)
    values = {
        "gallery": store.gallery_id,
        "subject": subject,
        "created_at": now(),
        "token": token,
        "wrapped_key": vault_of(connection).new_key(store.gallery_id, token),
    }
    added = insert(subjects).values(values).returning(subjects.c.id)
    return _Owner(connection.execute(added).scalar_one(), added=True, sealed=False)


def _insert_sample(connection: Connection, store: Store, subject_row: int, new: NewSample) -> int:
    packed = new.silhouettes
    if store.retention(connection) == EMBEDDINGS_ONLY:
        packed = None
    values = {
        "sample_id": new.sample_id,
        "gallery": store.gallery_id,
        "subject": subject_row,
        "created_at": now(),
        "captured_at": new.captured_at,
        "frames": 0 if packed is None else packed.shape[0],
        "metadata": new.metadata,
    }
    added = insert(samples).values(values).returning(samples.c.id)
    row: int = connection.execute(added).scalar_one()
    if packed is not None:
        insert_silhouettes(connection, row, packed)
    return row
