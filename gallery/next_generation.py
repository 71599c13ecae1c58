"""Build the next generation next to the live one, and switch between generations.

The live generation answers all the time. A sample enrolled meanwhile has an embedding only in the
live generation, so the next one lacks it until it is embedded there too; a sample erased meanwhile
disappears from both, because its embeddings are deleted with it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, delete, func, or_, select, update

from gallery.audit import LOCAL, Entry, append
from gallery.contents import STORED_SILHOUETTES, insert_embeddings, silhouettes_from
from gallery.database import Unindexed
from gallery.errors import RebuildFailed, RebuildRefused, SampleDamaged
from gallery.generations import (
    Model,
    find_or_add,
    has_no,
    is_kept,
    is_missing,
    lock,
    make_live,
    note_model_file,
    read_head,
)
from gallery.schema import (
    BUILDING,
    OLD,
    calibrations,
    embeddings,
    generations,
    samples,
    silhouettes,
)
from gallery.store import Store
from gallery.wiping import owe


class Missing(NamedTuple):
    """How many samples a generation lacks, and how many of them have no stored silhouettes."""

    samples: int
    without_silhouettes: int


class Walk(NamedTuple):
    """A sample row waiting for its embedding."""

    row: int
    silhouettes: NDArray[np.uint8]
    """`[T, H, W]`"""


class Window(NamedTuple):
    """The next samples that a generation lacks."""

    walks: list[Walk]
    damaged: list[SampleDamaged]
    """The errors of those whose silhouettes cannot be read."""
    last: int | None
    """The last sample row among all of them; None if there are none."""


Embed = Callable[[Sequence[Walk]], NDArray[np.float32]]
"""Embeds walks as float32 `[N, L]`."""


def begin(store: Store, model: Model, sha256: str | None = None) -> int:
    """Return the number of the model's generation, finished or not; add a new one if there is none.

    This is how a killed rebuild is continued. `sha256` is that of the model's file, if the data
    folder keeps the file.
    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        generation = find_or_add(connection, store.gallery_id, model, BUILDING)
        if sha256 is not None:
            note_model_file(connection, store.gallery_id, model, sha256)
        return generation


def missing(store: Store, generation: int) -> tuple[Missing, int]:
    """Count the samples that the generation lacks, and all samples."""
    with store.database.reading() as connection:
        counts = store.counts(connection, generation)
        return _missing(connection, store.gallery_id, generation), counts.samples


def sizes(store: Store) -> set[tuple[int, int]]:
    """Return the heights and widths of the gallery's silhouettes."""
    shapes = select(silhouettes.c.height, silhouettes.c.width).distinct()
    of_gallery = samples.c.gallery == store.gallery_id
    query = shapes.join(samples, samples.c.id == silhouettes.c.sample).where(of_gallery)
    with store.database.reading() as connection:
        return {(row.height, row.width) for row in connection.execute(query)}


def next_walks(store: Store, generation: int, after: int, limit: int) -> Window:
    """Read the next `limit` samples that the generation lacks, in rows after `after`.

    Raises:
        StoreUnavailable: another process changed the master key.

    """
    with store.database.reading() as connection:
        return _next_walks(connection, store.gallery_id, generation, after, limit)


def add_embeddings(
    store: Store, generation: int, rows: Sequence[int], vectors: NDArray[np.float32]
) -> None:
    """Write embeddings float32 `[N, L]` of N sample rows, skipping those erased meanwhile.

    Raises:
        RebuildFailed: the generation itself was dropped meanwhile.

    """
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        _require_kept(connection, generation)
        is_wanted = and_(samples.c.id.in_(rows), is_missing(store.gallery_id, generation))
        wanted = set(connection.scalars(select(samples.c.id).where(is_wanted)))
        places = [place for place, row in enumerate(rows) if row in wanted]
        insert_embeddings(connection, generation, [rows[p] for p in places], vectors[places])


def switch(
    store: Store, generation: int, actor: str = LOCAL, *, embed: Embed | None = None, most: int = 0
) -> int | None:
    """Make a complete generation live; if it lacks samples, change nothing and return None.

    Up to `most` missing samples are embedded first, while nobody can enrol: if people enrol all the
    time, a generation that only catches up would never be complete. Returns how many were embedded.

    Raises:
        RebuildFailed: the generation itself was dropped meanwhile, or the model's answer is wrong.
        SampleDamaged: the silhouettes of a missing sample cannot be read.

    """
    gallery = store.gallery_id
    with store.database.writing() as connection:
        lock(connection, gallery)
        missing = _missing(connection, gallery, generation)
        if missing.samples > most or missing.without_silhouettes:
            return None
        _require_kept(connection, generation)
        if missing.samples and embed is not None:
            walks, damaged, _ = _next_walks(connection, gallery, generation, 0, most)
            for error in damaged:
                raise error
            insert_embeddings(connection, generation, [one.row for one in walks], embed(walks))
        make_live(connection, gallery, generation)
        note(connection, gallery, "rebuild", generation, actor=actor)
        return missing.samples


def _next_walks(
    connection: Connection, gallery: int, generation: int, after: int, limit: int
) -> Window:
    query = (
        STORED_SILHOUETTES.where(
            samples.c.id > after, Unindexed(samples.c.gallery) == gallery, has_no(generation)
        )
        .order_by(samples.c.id)
        .limit(limit)
    )
    window, last = Window([], [], None), None
    for row in connection.execute(query):
        last = row.sample
        try:
            window.walks.append(Walk(row.sample, silhouettes_from(connection, row)))
        except SampleDamaged as error:
            window.damaged.append(SampleDamaged(str(error)))  # without the traceback's bytes
    return window._replace(last=last)


def roll_back(store: Store) -> Model:
    """Make the previously live generation live again; return its model.

    Raises:
        RebuildRefused: there is none, or it lacks samples that were enrolled since.

    """
    previous = (
        select(generations)
        .where(generations.c.gallery == store.gallery_id, generations.c.state == OLD)
        .order_by(generations.c.retired.desc())
    )
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        found = connection.execute(previous).first()
        if found is None:
            raise RebuildRefused(
                "expected an earlier generation to return to, got a gallery that keeps none"
            )
        count = _missing(connection, store.gallery_id, found.id).samples
        if count:
            raise RebuildRefused(
                f"expected the generation of {found.model_id} to know every sample, got {count} "
                "enrolled since it was live: rebuild with that model's file instead, which adds "
                "only those"
            )
        make_live(connection, store.gallery_id, found.id)
        note(connection, store.gallery_id, "rollback", found.id)
        return read_head(connection, store.gallery_id).model


def drop_others(store: Store) -> int:
    """Delete every generation but the live one for good; return how many there were.

    Afterwards the caller has to scrub the database of their embeddings.

    A generation that was once live keeps its row, marked as being built: it tells an index outside
    the store what to delete, even if that index is opened only much later.
    """
    of_gallery = generations.c.gallery == store.gallery_id
    is_new = and_(of_gallery, generations.c.state == BUILDING, generations.c.retired.is_(None))
    is_filled = select(embeddings.c.sample).where(embeddings.c.generation == generations.c.id)
    was_live = and_(
        of_gallery,
        or_(generations.c.state == OLD, generations.c.retired.is_not(None) & is_filled.exists()),
    )
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        dropped = connection.execute(delete(generations).where(is_new)).rowcount
        once_live = list(connection.scalars(select(generations.c.id).where(was_live)))
        for table in (embeddings, calibrations):
            connection.execute(delete(table).where(table.c.generation.in_(once_live)))
        owe(connection)
        emptied = update(generations).where(generations.c.id.in_(once_live))
        connection.execute(emptied.values(state=BUILDING))
        dropped += len(once_live)
        live = read_head(connection, store.gallery_id).generation
        note(connection, store.gallery_id, "drop", live, generations=dropped)
    return dropped


def note(
    connection: Connection,
    gallery: int,
    action: str,
    generation: int,
    *,
    actor: str = LOCAL,
    **counts: int,
) -> None:
    """Record in the audit log what was done with a generation."""
    entry = Entry(action, "done", actor, generation, counts=counts)
    append(connection, gallery, [entry])


def is_live(store: Store, model: Model) -> bool:
    """Tell whether the live generation is this model's."""
    return store.head().model == model


def _require_kept(connection: Connection, generation: int) -> None:
    if not is_kept(connection, generation):
        raise RebuildFailed(
            f"expected generation {generation} to be built until it is whole, "
            "got one that was dropped meanwhile: start the rebuild again"
        )


def _missing(connection: Connection, gallery: int, generation: int) -> Missing:
    row = connection.execute(
        select(
            func.count(samples.c.id).label("samples"),
            func.count(silhouettes.c.sample).label("with_silhouettes"),
        )
        .outerjoin_from(samples, silhouettes, silhouettes.c.sample == samples.c.id)
        .where(is_missing(gallery, generation))
    ).one()
    return Missing(row.samples, row.samples - row.with_silhouettes)
