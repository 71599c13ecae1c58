"""Fills an index from nothing, or from what it kept from an earlier run.

Kept rows count only if row and mark agree with the store: all others are removed, and whatever is
missing is read from the store. So no start has to trust a file.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from gallery.candidates import Owners
from gallery.following import Damaged, Roll, chunks_of, marks_of, roster
from gallery.generations import Head, Model, names
from gallery.index import Held, VectorIndex

# Rows removed per call: looking up many rows is costly for some indexes.
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

    A generation of a model other than `model` is not indexed, so they then hold nothing. Samples
    whose embedding cannot be read are left out as well, and `damaged` lists them afterwards.
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
    """Return the rows that are held but should not be, and those that should be but are not."""
    kept, places, of_held = np.intersect1d(
        stored.rows, held.rows, assume_unique=True, return_indices=True
    )
    same = kept[stored.marks[places] == held.marks[of_held]]
    stale = np.setdiff1d(held.rows, same, assume_unique=True)
    return stale, np.setdiff1d(stored.rows, same, assume_unique=True)


def _enter(rolls: Iterator[Roll], owners: Owners) -> Held:
    """Add all samples of the roster to the owners; return their rows and marks."""
    rows, marks = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for roll in rolls:
        owners.add(roll)
        rows.append(roll.rows)
        marks.append(marks_of(roll.sample_ids))
    return Held(np.concatenate(rows), np.concatenate(marks))
