"""How an index follows the store: reads exactly what changed since the index last looked.

There is a single code path: an index follows its own process's writes exactly as it follows those
of other processes, and a start is following from nothing. So there is no second path on which an
index could drift from the truth.

When another generation goes live, an index keeps answering from its own as long as that one is
complete, that is, every sample of the gallery has an embedding in it. This bridges the time until
the process has opened the new model. The first enrolment that only the new generation has ends it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, Select, select

from gallery.contents import SEALED_BY, readable_embeddings
from gallery.database import Unindexed
from gallery.errors import SampleDamaged
from gallery.generations import Head, Model, count_missing, is_kept, read_head
from gallery.schema import ERASED, changes, embeddings, samples, subjects

# Rows held in memory at once: 8 MiB of embeddings if they have 8,192 numbers.
CHUNK = 256
_ROLL = 8192
_NONE = np.empty(0, np.int64)
_OWNER = (samples.c.id, samples.c.sample_id, subjects.c.subject)
_OWNED: Select[Any] = (
    select(*_OWNER, embeddings, *SEALED_BY)
    .select_from(samples)
    .join(subjects, subjects.c.id == samples.c.subject)
    .join(embeddings, embeddings.c.sample == samples.c.id)
)


Damaged = dict[int, SampleDamaged]
"""Sample rows whose embedding cannot be read, with what is wrong."""


class Roll(NamedTuple):
    """The owners of some rows int64 `[N]`."""

    rows: NDArray[np.int64]
    subjects: Sequence[str]
    sample_ids: Sequence[str]


@dataclass(frozen=True)
class Chunk:
    """Samples to index: rows int64 `[N]`, embeddings float32 `[N, L]`, subjects and ids."""

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    subjects: Sequence[str]
    sample_ids: Sequence[str]

    @property
    def marks(self) -> NDArray[np.int64]:
        """Return a mark int64 for each sample `[N]`, to detect reused row numbers; see `Held`."""
        return marks_of(self.sample_ids)


@dataclass(frozen=True)
class News:
    """The changes that lead from the state an index has seen to `head`."""

    head: Head
    """The generation that the index answers from, or the live one if it must not answer."""
    starts_over: bool
    """Start from nothing: another generation answers, none was seen before, or the store went back
    to an older state; see `roster`."""
    erased: NDArray[np.int64]
    enrolled: Iterator[Chunk]
    """Reads lazily, so consume it inside the transaction that it was requested in."""


def news(
    connection: Connection, gallery: int, seen: Head | None, model: Model, damaged: Damaged
) -> News:
    """Read what changed since `seen`, as the caller's transaction sees it.

    A live generation of a model other than `model` has no news, because its embeddings are not
    indexed. Newly enrolled samples that cannot be read are added to `damaged`.
    """
    live = read_head(connection, gallery)
    head = live if live.model == model else _continued(connection, gallery, seen, live, model)
    if head is None or seen is None or not _leads_to(seen, head):
        return News(head or live, True, _NONE, iter(()))
    enrolled, erased = _changed(connection, gallery, seen.changes)
    wanted = chunks_of(connection, head, enrolled, damaged)
    return News(head, False, np.array(erased, np.int64), wanted)


def _leads_to(seen: Head, head: Head) -> bool:
    """Tell whether the changes since `seen` lead to `head`.

    They do not to another generation, nor back: then somebody put an older state of the store in
    the place of this one, and who was enrolled since must not be found.
    """
    return seen.generation == head.generation and seen.changes <= head.changes


def _continued(
    connection: Connection, gallery: int, seen: Head | None, live: Head, model: Model
) -> Head | None:
    """Return the head for staying with the generation seen; None if it is gone or incomplete."""
    if seen is None or seen.model != model:
        return None
    if not is_kept(connection, seen.generation):
        return None
    if count_missing(connection, gallery, seen.generation):
        return None
    return Head(seen.generation, model, live.changes)


def roster(connection: Connection, generation: int) -> Iterator[Roll]:
    """Yield the owners of the generation's rows, in row order."""
    query: Select[Any] = _embedded(generation).with_only_columns(*_OWNER)
    with connection.execution_options(yield_per=_ROLL).execute(query) as streamed:
        for partition in streamed.partitions():
            yield _roll(partition)


def chunks(
    connection: Connection, generation: int, model: Model, *, by_subject: bool = False
) -> Iterator[Chunk]:
    """Yield every sample embedded in the generation, in row order.

    With `by_subject`, the samples of each subject are consecutive instead.
    """
    query = _in_order_of_subjects(generation) if by_subject else _embedded(generation)
    # Closes the cursor even if a damaged row raises: a server-side cursor must not stay open.
    with connection.execution_options(yield_per=CHUNK).execute(query) as streamed:
        for partition in streamed.partitions():
            yield _chunk(connection, partition, model)


def _changed(connection: Connection, gallery: int, after: int) -> tuple[list[int], list[int]]:
    """Return the rows enrolled and the rows erased after the change number `after`."""
    query = (
        select(changes.c.sample, changes.c.kind)
        .where(changes.c.gallery == gallery, changes.c.number > after)
        .order_by(changes.c.number)
    )
    touched = connection.execute(query).all()
    erased = [row.sample for row in touched if row.kind == ERASED]
    gone = set(erased)
    return [row.sample for row in touched if row.sample not in gone], erased


def chunks_of(
    connection: Connection, head: Head, wanted: Sequence[int], damaged: Damaged | None = None
) -> Iterator[Chunk]:
    """Read the given rows of the head's generation, 256 at a time, each chunk in row order.

    Samples that cannot be read are left out and added to `damaged`, if that is given.

    Raises:
        SampleDamaged: one cannot be read, and `damaged` is not given.
        StoreUnavailable: another process changed the master key.

    """
    for start in range(0, len(wanted), CHUNK):
        is_wanted = samples.c.id.in_(wanted[start : start + CHUNK])
        rows = connection.execute(_embedded(head.generation, is_wanted)).all()
        chunk = _chunk(connection, rows, head.model, damaged)
        if len(chunk.rows):
            yield chunk


# Both queries return rows in an index's order: to sort them otherwise, a database would first write
# every embedding of the gallery to a temporary file.


def _embedded(generation: int, *conditions: ColumnElement[bool]) -> Select[Any]:
    is_wanted = embeddings.c.generation == generation
    return _OWNED.where(is_wanted, *conditions).order_by(embeddings.c.sample)


def _in_order_of_subjects(generation: int) -> Select[Any]:
    is_wanted = Unindexed(embeddings.c.generation) == generation
    return _OWNED.where(is_wanted).order_by(samples.c.subject, samples.c.id)


def _chunk(
    connection: Connection, rows: Sequence[Row[Any]], model: Model, damaged: Damaged | None = None
) -> Chunk:
    read = readable_embeddings(connection, rows, model.embedding_length)
    for place, error in read.damaged.items():
        if damaged is None:
            raise error
        damaged[rows[place].id] = error
    roll = _roll([rows[place] for place in read.places])
    return Chunk(roll.rows, read.embeddings, roll.subjects, roll.sample_ids)


def _roll(rows: Sequence[Row[Any]]) -> Roll:
    numbers = np.array([row.id for row in rows], np.int64)
    return Roll(numbers, [row.subject for row in rows], [row.sample_id for row in rows])


def marks_of(sample_ids: Iterable[str]) -> NDArray[np.int64]:
    """Return a mark for each sample, int64 `[N]`, derived from its id."""
    digests = b"".join(blake2b(one.encode(), digest_size=8).digest() for one in sample_ids)
    return np.frombuffer(digests, "<i8").astype(np.int64)
