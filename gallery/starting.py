"""Filling an index from nothing, or from what it kept of an earlier run.

What it kept counts only where row and mark agree with the store's: all else is removed, and what is
missing is read from the store. So no start has to believe a file.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from gallery.candidates import Owners
from gallery.following import Damaged, Roll, chunks_of, marks_of, roster
from gallery.generations import Head, Model, names
from gallery.index import Held, VectorIndex

# Rows removed at a time: what an index has to look up for each is not small everywhere.
_PAGE = 4096


def start_over(
    connection: Connection,
    gallery: int,
    head: Head,
    model: Model,
    *,
    index: VectorIndex,
    owners: Owners,
    damaged: Damaged,
) -> None:
    """Make index and owners hold exactly the samples of the head's generation.

    A generation of another model than `model` is not indexed, so they then hold nothing. Nor do
    they hold samples whose embedding cannot be read; those are what `damaged` holds afterwards.
    """
    damaged.clear()
    owners.clear()
    name, retired = names(connection, gallery, head.generation)
    if head.model != model:
        index.begin(None)
        return
    held = index.begin(name, retired)
    stale, missing = compare(held, _enter(roster(connection, head.generation), owners))
    for start in range(0, len(stale), _PAGE):
        index.remove(stale[start : start + _PAGE])
    for chunk in chunks_of(connection, head, missing.tolist(), damaged):
        index.add(chunk.rows, chunk.embeddings, chunk.marks)
    owners.remove(np.array(list(damaged), np.int64))


def compare(held: Held, stored: Held) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the rows that are held and should not be, and those that should be and are not."""
    kept, places, of_held = np.intersect1d(
        stored.rows, held.rows, assume_unique=True, return_indices=True
    )
    same = kept[stored.marks[places] == held.marks[of_held]]
    stale = np.setdiff1d(held.rows, same, assume_unique=True)
    return stale, np.setdiff1d(stored.rows, same, assume_unique=True)


def _enter(rolls: Iterator[Roll], owners: Owners) -> Held:
    """Enter everybody of the roster as owners; returns their rows and marks."""
    rows, marks = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for roll in rolls:
        owners.add(roll)
        rows.append(roll.rows)
        marks.append(marks_of(roll.sample_ids))
    return Held(np.concatenate(rows), np.concatenate(marks))
