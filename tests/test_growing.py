"""What is taken piece by piece costs as much for a piece however large the gallery is.

Counted are the steps of SQLite's own machine, which are the same on every computer.
"""

import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event, insert

from gallery.following import chunks
from gallery.generations import Model
from gallery.listing import list_subjects
from gallery.looking import find_subjects
from gallery.next_generation import begin, next_walks
from gallery.packing import pack_embedding, pack_silhouettes
from gallery.schema import embeddings, samples, silhouettes, subjects
from gallery.store import Store

MODEL, NEXT = Model("model-a", 4), Model("model-b", 4)
AT = "2026-11-29T00:00:00.000+00:00"


def filled(folder: Path, people: int) -> Store:
    """A gallery of people with one walk each, of which the next model has embedded nothing."""
    store = Store.open(folder)
    store.adopt(MODEL)
    begin(store, NEXT)
    kept = {"gallery": store.gallery_id, "created_at": AT}
    packed = pack_silhouettes(np.zeros((1, 8, 6), np.uint8))
    walk = {"format": packed.format, "frames": 1, "height": 8, "width": 6, "data": packed.data}
    vector = {
        "generation": store.head().generation,
        "vector": pack_embedding(np.zeros(4, np.float32)),
    }
    sample = {**kept, "frames": 1, "metadata": "{}"}
    rows = range(1, people + 1)
    named = [{**kept, "id": n, "subject": f"s{n:05d}", "token": f"{n}"} for n in rows]
    walked = [{**sample, "id": n, "subject": n, "sample_id": secrets.token_hex(16)} for n in rows]
    with store.database.writing() as connection:
        connection.execute(insert(subjects), named)
        connection.execute(insert(samples), walked)
        connection.execute(insert(silhouettes), [{**walk, "sample": n} for n in rows])
        connection.execute(insert(embeddings), [{**vector, "sample": n} for n in rows])
    return store


def steps(store: Store, ask: Callable[[Store], object]) -> int:
    """Count the steps of SQLite's machine that a question takes."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    event.listen(store.database.engine, "connect", lambda one, _: one.set_progress_handler(step, 1))
    store.database.engine.dispose()
    ask(store)
    return taken


def next_of_a_rebuild(store: Store) -> None:
    assert len(next_walks(store, begin(store, NEXT), 20, 16).walks) == 16


def page(store: Store) -> None:
    assert [one.samples for one in list_subjects(store, 5, "s00020")] == [1] * 5


def page_of_found(store: Store) -> None:
    found = find_subjects(store, "S0", 5, "s00020")
    assert [one.samples for one in found.subjects] == [1] * 5


def page_without_anybody(store: Store) -> None:
    assert find_subjects(store, "x", 5, "s00020", most=100).next == "s00120"


def first_chunk(store: Store, *, by_subject: bool = False) -> None:
    with store.database.reading() as connection:
        streamed = chunks(connection, store.head().generation, MODEL, by_subject=by_subject)
        with closing(streamed):
            assert next(streamed).rows[0] == 1


def first_chunk_by_subject(store: Store) -> None:
    first_chunk(store, by_subject=True)


@pytest.mark.parametrize(
    "ask",
    [
        next_of_a_rebuild,
        page,
        page_of_found,
        page_without_anybody,
        first_chunk,
        first_chunk_by_subject,
    ],
)
def test_the_next_piece_takes_as_long_in_a_gallery_four_times_as_large(
    tmp_path: Path, ask: Callable[[Store], None]
) -> None:
    with closing(filled(tmp_path / "small", 300)) as small:
        few = steps(small, ask)
    with closing(filled(tmp_path / "large", 1200)) as large:
        many = steps(large, ask)
    assert many < 1.5 * few
