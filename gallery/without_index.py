"""Erases people without opening an index: next to a running service, or when none is running.

The store is the truth. A running service's index forgets the erased data before its next answer, as
it follows any other process, and one that starts later compares itself with the store.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gallery.current import Looked
from gallery.indexes.choose import IndexChoice, keeps_files
from gallery.people import People
from gallery.preparing import BY_SERVICE
from gallery.scrubbing import Scrubber
from gallery.settings import read_settings
from gallery.store import Store


class NoIndex:
    """Stands in for an index, and holds nothing."""

    def catch_up(self) -> None:
        """Do nothing: there is no index to update."""

    def look_for(self, rows: Sequence[int], probes: NDArray[np.float32], generation: int) -> Looked:
        """Report that nothing was searched or found."""
        return Looked(0, 0, 0)


def people_of(store: Store, choice: IndexChoice) -> People:
    """Return the people of a gallery; `choice` is how a service would search it.

    If that kind of index keeps files, receipts say `pending`: only the index can remove vectors.
    """
    with store.database.reading() as connection:
        kind = read_settings(connection, store.gallery_id).index_kind
    chosen = choice if kind == BY_SERVICE else replace(choice, kind=kind)
    return People(store, Scrubber(store, NoIndex(), lambda: not keeps_files(chosen, store.name)))
