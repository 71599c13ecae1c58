"""Erasing for good: one deleting transaction, and a receipt of what a later search still found.

The receipt holds counts and a salted digest. The salt is returned once, to whoever requested the
erasure, and stored nowhere: so the receipt names nobody, yet its holder can prove whose it is.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    func,
    insert,
    select,
    update,
)

from gallery import audit
from gallery.contents import STORED_EMBEDDINGS, embeddings_from
from gallery.current import Looked
from gallery.errors import ReceiptDamaged, ReceiptNotFound, StoreUnavailable, WrongMasterKey
from gallery.finding import find_sample, find_subject, moment_from
from gallery.generations import Head, lock, now, read_head, record
from gallery.records import Erasure, Proof, Receipt
from gallery.schema import (
    ERASED,
    consents,
    embeddings,
    receipts,
    samples,
    silhouettes,
    subjects,
)
from gallery.store import Store
from gallery.wiping import owe

# Rows named in one query at most: databases limit the number of bound values.
_NAMED = 10_000
# Erased embeddings that are searched for afterwards; each one is a whole search.
_PROBES = 8
_LOG = logging.getLogger("metagait.gallery")


@dataclass(frozen=True)
class Erased:
    """What was deleted, and what is needed to look for it afterwards."""

    erasure: Erasure
    rows: tuple[int, ...]
    """The sample rows; their numbers are never reused."""
    token: str
    probes: NDArray[np.float32]
    """Some of the deleted embeddings, float32 `[N, L]`, of `generation`."""
    generation: int
    """The generation that was live."""


def erase_subject(store: Store, subject: str, actor: str = audit.LOCAL) -> Erased:
    """Delete a subject with its key and all its samples, from every generation.

    Raises:
        SubjectNotFound: there is no such subject.

    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        found = find_subject(connection, store, subject)
        of_subject = select(samples.c.id).where(samples.c.subject == found.id)
        return _erase(connection, store, found, of_subject, whole=True, actor=actor)


def erase_sample(store: Store, sample_id: str, actor: str = audit.LOCAL) -> Erased:
    """Delete one sample from every generation, and its subject if this was its last sample.

    Raises:
        SampleNotFound: there is no such sample.

    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        sample = find_sample(connection, store, sample_id)
        others = (samples.c.subject == sample.subject_row) & (samples.c.id != sample.id)
        is_last = connection.execute(select(samples.c.id).where(others).limit(1)).first() is None
        owner = select(subjects).where(subjects.c.id == sample.subject_row)
        found = connection.execute(owner).one()
        this = select(samples.c.id).where(samples.c.id == sample.id)
        return _erase(connection, store, found, this, whole=is_last, actor=actor)


def count_left(store: Store, erased: Erased) -> int:
    """Count how many rows of the erased data still exist."""
    of_rows = (silhouettes.c.sample, embeddings.c.sample, consents.c.sample, samples.c.id)
    parts = [erased.rows[at : at + _NAMED] for at in range(0, len(erased.rows), _NAMED)]
    left: list[ColumnElement[bool]] = [row.in_(part) for row in of_rows for part in parts]
    if erased.erasure.receipt.subject_erased:
        left.append(subjects.c.token == erased.token)
    with store.database.reading() as connection:
        return sum(_count(connection, condition) for condition in left)


def prove(store: Store, looked: Looked, erased: Erased, files: str) -> Proof:
    """Look for rows of the erased data, and return the proof with all other findings.

    Args:
        store: the gallery that it was erased from.
        looked: the result of looking for it in the index.
        erased: what was erased.
        files: what was done to its bytes, see `Proof`.

    """
    return Proof(
        checked_at=datetime.now(UTC),
        rows=count_left(store, erased),
        searches=looked.searches,
        found=looked.found,
        indexed=looked.indexed,
        files=files,
    )


def finish(store: Store, erased: Erased, proof: Proof) -> Erasure:
    """Store the findings of the check in the receipt, and return the erasure with it."""
    receipt = replace(erased.erasure.receipt, proof=proof)
    with store.database.writing() as connection:
        is_it = receipts.c.id == receipt.receipt_id
        connection.execute(update(receipts).where(is_it).values(body=_text(receipt)))
    return replace(erased.erasure, receipt=receipt)


def read_receipt(store: Store, receipt_id: str) -> Receipt:
    """Return a stored receipt.

    Raises:
        ReceiptNotFound: the gallery has no receipt with this id.
        ReceiptDamaged: it can no longer be read.

    """
    is_it = (receipts.c.gallery == store.gallery_id) & (receipts.c.id == receipt_id)
    with store.database.reading() as connection:
        body = connection.scalar(select(receipts.c.body).where(is_it))
    if body is None:
        raise ReceiptNotFound(
            f"expected a receipt of the gallery {store.name}, got {receipt_id!r}, which does not "
            "exist"
        )
    try:
        return _receipt(json.loads(body))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ReceiptDamaged(f"the receipt {receipt_id} cannot be read any more") from error


def count_erasures(store: Store) -> int:
    """Count all erasures ever made in the gallery, by any process; receipts are never deleted."""
    with store.database.reading() as connection:
        return _count(connection, receipts.c.gallery == store.gallery_id)


def subject_digest(salt: str, subject: str) -> str:
    """Return the digest by which the holder of the salt can prove whose receipt it is."""
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()


def _erase(
    connection: Connection,
    store: Store,
    subject: Row[Any],
    wanted: Select[Any],
    *,
    whole: bool,
    actor: str,
) -> Erased:
    """Delete the sample rows that `wanted` selects, and with `whole` the subject itself."""
    rows = list(connection.scalars(wanted.order_by(samples.c.id)))
    head = read_head(connection, store.gallery_id)
    probes = _probes(connection, head, rows)
    salt = secrets.token_hex(16)
    receipt = _describe(connection, store, subject, wanted, whole=whole, salt=salt)
    if whole:
        connection.execute(delete(subjects).where(subjects.c.id == subject.id))
    else:
        connection.execute(delete(samples).where(samples.c.id.in_(wanted)))
    record(connection, store.gallery_id, ERASED, rows)
    owe(connection)
    values = {"id": receipt.receipt_id, "gallery": store.gallery_id}
    values |= {"created_at": receipt.erased_at.isoformat(), "body": _text(receipt)}
    connection.execute(insert(receipts).values(values))
    counts = {"samples": len(rows), "subjects": int(whole)}
    entry = audit.Entry("erase", "erased", actor, head.generation, subject.token, counts)
    audit.append(connection, store.gallery_id, [entry])
    erasure = Erasure(subject.subject, len(rows), salt, receipt)
    return Erased(erasure, tuple(rows), subject.token, probes, head.generation)


def _probes(connection: Connection, head: Head, rows: Sequence[int]) -> NDArray[np.float32]:
    of_rows = STORED_EMBEDDINGS.where(embeddings.c.sample.in_(rows[:_PROBES]))
    found = connection.execute(of_rows.where(embeddings.c.generation == head.generation)).all()
    try:
        return embeddings_from(connection, found, head.model.embedding_length)
    except (StoreUnavailable, WrongMasterKey) as error:
        # Damaged, or encrypted under a key that this process lacks; neither may prevent an erasure.
        _LOG.warning(
            "the erased embeddings cannot be read, so no searches are made with them: %s", error
        )
        return np.empty((0, head.model.embedding_length), np.float32)


def _describe(
    connection: Connection,
    store: Store,
    subject: Row[Any],
    wanted: Select[Any],
    *,
    whole: bool,
    salt: str,
) -> Receipt:
    """Describe in a receipt what is about to be deleted: the sample rows that `wanted` selects."""
    by_generation = connection.execute(
        select(embeddings.c.generation, func.count())
        .where(embeddings.c.sample.in_(wanted))
        .group_by(embeddings.c.generation)
    )
    of_it = consents.c.subject == subject.id if whole else consents.c.sample.in_(wanted)
    return Receipt(
        receipt_id=secrets.token_hex(16),
        gallery=store.name,
        subject_digest=subject_digest(salt, subject.subject),
        erased_at=datetime.fromisoformat(now()),
        subject_erased=whole,
        samples=_count(connection, samples.c.id.in_(wanted)),
        silhouettes=_count(connection, silhouettes.c.sample.in_(wanted)),
        embeddings={str(generation): count for generation, count in by_generation},
        consents=_count(connection, of_it),
        key_destroyed=whole and subject.wrapped_key is not None,
        proof=None,
    )


def _count(connection: Connection, condition: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).where(condition)).scalar_one())


def _text(receipt: Receipt) -> str:
    return json.dumps(asdict(receipt), default=datetime.isoformat, sort_keys=True)


def _receipt(body: dict[str, Any]) -> Receipt:
    proof = body.pop("proof")
    if proof is not None:
        checked_at = _moment(proof.pop("checked_at"))
        proof = Proof(checked_at=checked_at, **proof)
    erased_at = _moment(body.pop("erased_at"))
    return Receipt(erased_at=erased_at, proof=proof, **body)


def _moment(text: str) -> datetime:
    moment = moment_from(text)
    if moment is None:
        raise ValueError("expected a moment, got other text")
    return moment
