"""Generations of a gallery: which one is live, the head, and the numbering of changes.

All functions run inside the caller's transaction. Those that write expect that `lock` was called in
it, so that changes are numbered in commit order, whoever writes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, insert, select, update

from gallery.errors import GalleryNotFound, ModelMismatch
from gallery.schema import (
    LIVE,
    OLD,
    changes,
    embeddings,
    galleries,
    generations,
    identities,
    samples,
)


class Model(NamedTuple):
    """What makes embeddings comparable: the same model, and therefore the same length."""

    model_id: str
    embedding_length: int

    def __str__(self) -> str:
        """Return it as worded in messages."""
        return f"{self.model_id} ({self.embedding_length} numbers)"


class Head(NamedTuple):
    """What an index has to agree with: the live generation and the last change."""

    generation: int
    """0 in a gallery that no model has been used with yet."""
    model: Model
    changes: int


# The head is read before every answer, and building this query takes longer than running it.
_HEAD = (
    select(
        galleries.c.changes,
        generations.c.id,
        generations.c.model_id,
        generations.c.embedding_length,
    )
    .outerjoin_from(
        galleries,
        generations,
        and_(generations.c.gallery == galleries.c.id, generations.c.state == LIVE),
    )
    .where(galleries.c.id == bindparam("of_gallery"), galleries.c.deleted_at.is_(None))
)


def lock(connection: Connection, gallery: int) -> None:
    """Keep all other writers of this gallery out until this transaction ends."""
    row = select(galleries.c.id).where(galleries.c.id == gallery)
    connection.execute(row.with_for_update())


def record(connection: Connection, gallery: int, kind: str, rows: Sequence[int]) -> int:
    """Number a change of the gallery, note the sample rows it affects, and return the number."""
    number: int = connection.execute(
        update(galleries)
        .where(galleries.c.id == gallery)
        .values(changes=galleries.c.changes + 1)
        .returning(galleries.c.changes)
    ).scalar_one()
    if rows:
        note = {"gallery": gallery, "number": number, "kind": kind}
        connection.execute(insert(changes), [note | {"sample": row} for row in rows])
    return number


def read_head(connection: Connection, gallery: int) -> Head:
    """Return what an index has to agree with, as this transaction sees it.

    Raises:
        GalleryNotFound: the gallery was deleted.

    """
    row = connection.execute(_HEAD, {"of_gallery": gallery}).first()
    if row is None:
        raise GalleryNotFound("expected a gallery of this store, got one that was deleted")
    return Head(row.id or 0, Model(row.model_id or "", row.embedding_length or 0), row.changes)


def require_model(head: Head, model: Model) -> None:
    """Refuse to compare or add embeddings of a model other than the live one.

    Raises:
        ModelMismatch: the live generation belongs to another model.

    """
    if head.model != model:
        raise ModelMismatch(
            f"expected a gallery embedded by {model}, got one embedded by {head.model}: run "
            f"`metagait rebuild --model FILE` with the file of {model.model_id}, or start with "
            f"the model {head.model.model_id}"
        )


def names(connection: Connection, gallery: int, generation: int) -> tuple[str, list[str]]:
    """Return a generation's name, unique across all stores, and those of the retired generations.

    An index stores its data under that name. Generation 0, of an empty gallery, has a name too.
    """
    query = (
        select(generations, galleries.c.name)
        .join(galleries, galleries.c.id == generations.c.gallery)
        .where(galleries.c.id == gallery)
    )
    found = connection.execute(query).all()
    identity = connection.scalar(select(identities.c.identity)) or ""
    named = {row.id: _name(row, identity) for row in found}
    # A dropped generation is no longer OLD, but its `retired` is still set.
    retired = [named[row.id] for row in found if row.retired and row.id != generation]
    return named.get(generation, "g0"), retired


def _name(row: Row[Any], identity: str) -> str:
    facts = f"{identity}{row.name}\n{row.id}\n{row.model_id}\n{row.created_at}"
    return f"g{row.id}_{blake2b(facts.encode(), digest_size=8).hexdigest()}"


def find_or_add(connection: Connection, gallery: int, model: Model, state: str) -> int:
    """Return the number of the model's generation in this gallery, adding it in `state` if new."""
    known = connection.scalar(select(generations.c.id).where(_is_of(gallery, model)))
    if known is not None:
        return int(known)
    values = {"gallery": gallery, "state": state, "created_at": now(), **model._asdict()}
    added = insert(generations).values(values).returning(generations.c.id)
    return int(connection.execute(added).scalar_one())


def note_model_file(connection: Connection, gallery: int, model: Model, sha256: str) -> None:
    """Store the SHA-256 of the model file behind the model's generation."""
    noted = update(generations).where(_is_of(gallery, model)).values(model_sha256=sha256)
    connection.execute(noted)


def model_sha256(connection: Connection, generation: int) -> str | None:
    """Return the SHA-256 of the generation's model file; None if it was never recorded."""
    query = select(generations.c.model_sha256).where(generations.c.id == generation)
    known: str | None = connection.scalar(query)
    return known


def was_replaced(connection: Connection, gallery: int, model: Model) -> bool:
    """Tell whether the model's generation used to be live and another one is live now."""
    # In any state: `drop_others` marks what was once live as being built.
    once_live = generations.c.retired.is_not(None)
    query = select(generations.c.id).where(_is_of(gallery, model), once_live)
    return connection.execute(query).first() is not None


def _is_of(gallery: int, model: Model) -> ColumnElement[bool]:
    return and_(
        generations.c.gallery == gallery,
        generations.c.model_id == model.model_id,
        generations.c.embedding_length == model.embedding_length,
    )


def make_live(connection: Connection, gallery: int, generation: int) -> None:
    """Make `generation` answer from now on, and keep the previous one for a rollback."""
    number = record(connection, gallery, LIVE, [])
    of_gallery = generations.c.gallery == gallery
    retire = update(generations).where(of_gallery, generations.c.state == LIVE)
    connection.execute(retire.values(state=OLD, retired=number))
    connection.execute(
        update(generations).where(generations.c.id == generation).values(state=LIVE, retired=None)
    )


def adopt_if_empty(connection: Connection, gallery: int, model: Model) -> Head:
    """Make `model` the live one if the gallery holds no samples; return the head."""
    head = read_head(connection, gallery)
    anything = select(samples.c.id).where(samples.c.gallery == gallery).limit(1)
    if head.model == model or connection.execute(anything).first() is not None:
        return head
    make_live(connection, gallery, find_or_add(connection, gallery, model, OLD))
    return read_head(connection, gallery)


def is_kept(connection: Connection, generation: int) -> bool:
    """Tell whether the generation still exists, in any state."""
    query = select(generations.c.id).where(generations.c.id == generation)
    return connection.execute(query).first() is not None


def is_missing(gallery: int, generation: int) -> ColumnElement[bool]:
    """Return the condition for a gallery's sample rows that have no embedding in the generation."""
    return and_(samples.c.gallery == gallery, has_no(generation))


def has_no(generation: int) -> ColumnElement[bool]:
    """Return the condition for sample rows, of any gallery, without embedding in the generation."""
    embedded = select(embeddings.c.sample).where(
        embeddings.c.generation == generation, embeddings.c.sample == samples.c.id
    )
    return ~embedded.exists()


def count_missing(connection: Connection, gallery: int, generation: int) -> int:
    """Count the samples of a gallery that have no embedding in the generation."""
    query = select(func.count()).select_from(samples).where(is_missing(gallery, generation))
    return int(connection.execute(query).scalar_one())


def now() -> str:
    """Return the current time as the tables store it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
