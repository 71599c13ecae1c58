"""How an index follows the store: what changed since it last looked, and nothing more.

One way for everything: an index follows its own process's writes exactly as it follows those of
another process, and a start is following from nothing. So there is no second path on which an
index could drift from the truth.

When another generation goes live, an index goes on with its own as long as that is whole: every
sample of the gallery has an embedding in it. That bridges the moment until its process has opened
the new model. From the first enrolment that only the new generation knows it has to stop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, Select, select

from gallery.generations import Head, Model, count_missing, is_kept, read_head
from gallery.packing import unpack_embeddings
from gallery.schema import ERASED, changes, embeddings, samples, subjects

# Rows held at once: 8 MiB of embeddings of 8,192 numbers.
CHUNK = 256
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Chunk:
    """Some samples to index: int64 `[N]`, float32 `[N, L]`, and for each its subject and id."""

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    subjects: Sequence[str]
    sample_ids: Sequence[str]


@dataclass(frozen=True)
class News:
    """What leads from what an index has seen to `head`."""

    head: Head
    """The generation that the index answers from, or the live one when it must not answer."""
    starts_over: bool
    """Forget everything first: another generation answers, or nothing was seen before."""
    erased: NDArray[np.int64]
    enrolled: Iterator[Chunk]
    """Read as it is consumed, so inside the transaction that it was asked for in."""


def news(connection: Connection, gallery: int, seen: Head | None, model: Model) -> News:
    """Read what changed since `seen`, as the caller's transaction sees it.

    A live generation of another model than `model` has no news: its embeddings are not indexed.
    """
    live = read_head(connection, gallery)
    head = live if live.model == model else _continued(connection, gallery, seen, live, model)
    if head is None:
        return News(live, True, _NONE, iter(()))
    if seen is None or seen.generation != head.generation:
        return News(head, True, _NONE, chunks(connection, head.generation, model))
    enrolled, erased = _changed(connection, gallery, seen.changes)
    wanted = _chunks_of(connection, head, enrolled)
    return News(head, False, np.array(erased, np.int64), wanted)


def _continued(
    connection: Connection, gallery: int, seen: Head | None, live: Head, model: Model
) -> Head | None:
    """Stay with the generation that was seen, when it is kept and still whole."""
    if seen is None or seen.model != model:
        return None
    if not is_kept(connection, seen.generation):
        return None
    if count_missing(connection, gallery, seen.generation):
        return None
    return Head(seen.generation, model, live.changes)


def chunks(connection: Connection, generation: int, model: Model) -> Iterator[Chunk]:
    """Stream every sample that is embedded in the generation, in the order of the rows."""
    streamed = connection.execution_options(yield_per=CHUNK).execute(_embedded(generation))
    for partition in streamed.partitions():
        yield _chunk(partition, model)


def _changed(connection: Connection, gallery: int, after: int) -> tuple[list[int], list[int]]:
    """Rows enrolled and rows erased since the change `after`."""
    query = (
        select(changes.c.sample, changes.c.kind)
        .where(changes.c.gallery == gallery, changes.c.number > after)
        .order_by(changes.c.number)
    )
    touched = connection.execute(query).all()
    erased = [row.sample for row in touched if row.kind == ERASED]
    gone = set(erased)
    return [row.sample for row in touched if row.sample not in gone], erased


def _chunks_of(connection: Connection, head: Head, wanted: Sequence[int]) -> Iterator[Chunk]:
    for start in range(0, len(wanted), CHUNK):
        is_wanted = samples.c.id.in_(wanted[start : start + CHUNK])
        rows = connection.execute(_embedded(head.generation, is_wanted)).all()
        yield _chunk(rows, head.model)


def _embedded(generation: int, *conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(samples.c.id, samples.c.sample_id, subjects.c.subject, embeddings.c.vector)
        .join(subjects, subjects.c.id == samples.c.subject)
        .join(embeddings, embeddings.c.sample == samples.c.id)
        .where(embeddings.c.generation == generation, *conditions)
        .order_by(samples.c.id)
    )


def _chunk(rows: Sequence[Row[Any]], model: Model) -> Chunk:
    return Chunk(
        np.array([row.id for row in rows], np.int64),
        unpack_embeddings([row.vector for row in rows], model.embedding_length),
        [row.subject for row in rows],
        [row.sample_id for row in rows],
    )
