"""How an index follows the store: what changed since it last looked, and nothing more.

One way for everything: an index follows its own process's writes exactly as it follows those of
another process, and a start is following from nothing. So there is no second path on which an
index could drift from the truth.

When another generation goes live, an index goes on with its own as long as that is whole: every
sample of the gallery has an embedding in it. That bridges the moment until its process has opened
the new model. From the first enrolment that only the new generation knows it has to stop.
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

# Rows held at once: 8 MiB of embeddings of 8,192 numbers.
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
"""Sample rows whose embedding cannot be read, and what is wrong."""


class Roll(NamedTuple):
    """Whose samples some rows int64 `[N]` are."""

    rows: NDArray[np.int64]
    subjects: Sequence[str]
    sample_ids: Sequence[str]


@dataclass(frozen=True)
class Chunk:
    """Some samples to index: int64 `[N]`, float32 `[N, L]`, and for each its subject and id."""

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    subjects: Sequence[str]
    sample_ids: Sequence[str]

    @property
    def marks(self) -> NDArray[np.int64]:
        """What tells these samples from others of the same rows, int64 `[N]`; see `Held`."""
        return marks_of(self.sample_ids)


@dataclass(frozen=True)
class News:
    """What leads from what an index has seen to `head`."""

    head: Head
    """The generation that the index answers from, or the live one when it must not answer."""
    starts_over: bool
    """Another generation answers, or nothing was seen before: `roster` says what there is."""
    erased: NDArray[np.int64]
    enrolled: Iterator[Chunk]
    """Read as it is consumed, so inside the transaction that it was asked for in."""


def news(
    connection: Connection, gallery: int, seen: Head | None, model: Model, damaged: Damaged
) -> News:
    """Read what changed since `seen`, as the caller's transaction sees it.

    A live generation of another model than `model` has no news: its embeddings are not indexed.
    Samples that were enrolled and cannot be read are entered into `damaged`.
    """
    live = read_head(connection, gallery)
    head = live if live.model == model else _continued(connection, gallery, seen, live, model)
    if head is None or seen is None or seen.generation != head.generation:
        return News(head or live, True, _NONE, iter(()))
    enrolled, erased = _changed(connection, gallery, seen.changes)
    wanted = chunks_of(connection, head, enrolled, damaged)
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


def roster(connection: Connection, generation: int) -> Iterator[Roll]:
    """Stream whose sample each row of the generation is, in the order of the rows."""
    query: Select[Any] = _embedded(generation).with_only_columns(*_OWNER)
    with connection.execution_options(yield_per=_ROLL).execute(query) as streamed:
        for partition in streamed.partitions():
            yield _roll(partition)


def chunks(
    connection: Connection, generation: int, model: Model, *, by_subject: bool = False
) -> Iterator[Chunk]:
    """Stream every sample that is embedded in the generation, in the order of the rows.

    With `by_subject` the samples of a subject follow one another.
    """
    query = _in_order_of_subjects(generation) if by_subject else _embedded(generation)
    # Closed also where a damaged row ends it: a cursor of the server must not outlive the reading.
    with connection.execution_options(yield_per=CHUNK).execute(query) as streamed:
        for partition in streamed.partitions():
            yield _chunk(connection, partition, model)


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


def chunks_of(
    connection: Connection, head: Head, wanted: Sequence[int], damaged: Damaged | None = None
) -> Iterator[Chunk]:
    """Read these rows of the head's generation, 256 at a time, each time in the order of the rows.

    Those that cannot be read are left out and entered into `damaged`, where that is given.

    Raises:
        SampleDamaged: one cannot be read, and `damaged` is not given.
        StoreUnavailable: the master key was changed meanwhile.

    """
    for start in range(0, len(wanted), CHUNK):
        is_wanted = samples.c.id.in_(wanted[start : start + CHUNK])
        rows = connection.execute(_embedded(head.generation, is_wanted)).all()
        chunk = _chunk(connection, rows, head.model, damaged)
        if len(chunk.rows):
            yield chunk


# Both give the rows in the order of an index: to sort them, a database would first write every
# embedding of the gallery to a file of its own, somewhere.


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
    """Make the mark of each sample, int64 `[N]`, from its id."""
    digests = b"".join(blake2b(one.encode(), digest_size=8).digest() for one in sample_ids)
    return np.frombuffer(digests, "<i8").astype(np.int64)
