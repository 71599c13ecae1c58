"""What follows an erasure: the index forgets, the files are scrubbed, and a receipt is written."""

import logging
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gallery import erasing
from gallery.current import Looked
from gallery.errors import IndexUnavailable, StoreError
from gallery.records import Erasure
from gallery.store import Store

_LOG = logging.getLogger("metagait.gallery")


class Follower(Protocol):
    """What must not find the erased: `Current`, or nothing where no index is open."""

    def catch_up(self) -> None:
        """Follow every write that was acknowledged before."""

    def look_for(self, rows: Sequence[int], probes: NDArray[np.float32], generation: int) -> Looked:
        """Look for rows that should be gone, as well by their embeddings of `generation`."""


class Scrubber:
    """Leaves nothing of the erased in a gallery's files, at once or as soon as it can."""

    def __init__(self, store: Store, current: Follower, forget_others: Callable[[], bool]) -> None:
        """Scrub for an index; `forget_others` empties the files of those before it, if it can."""
        self._store = store
        self._current = current
        self._forget_others = forget_others
        # Counted, because somebody may erase while another's erasure is being scrubbed. The first
        # is owed at once: a process that was killed while it erased may have left some.
        self._owed, self._done = 1, 0
        self._counting, self._turn = Lock(), Lock()

    def finish(self, erased: erasing.Erased) -> Erasure:
        """Let the index follow, scrub, look for what was erased, and keep the receipt.

        Whoever was erased is gone already. When nobody can look, the receipt stays without a proof:
        as an error it would be lost with its salt, and asking again would find nobody to erase.
        """
        self.owe()
        try:
            return self._proven(erased)
        except (IndexUnavailable, StoreError) as error:
            _LOG.warning(
                "the erasure is done, but what is left of it could not be looked for: %s", error
            )
            return erased.erasure

    def _proven(self, erased: erasing.Erased) -> Erasure:
        self._current.catch_up()
        files = self._store.database.erased_bytes if self.scrub() else "pending"
        looked = self._current.look_for(erased.rows, erased.probes, erased.generation)
        proof = erasing.prove(self._store, looked, erased, files)
        return erasing.finish(self._store, erased, proof)

    def owe(self) -> None:
        """Note that something was taken away that is to be scrubbed."""
        with self._counting:
            self._owed += 1

    def scrub(self, *, wait: bool = True) -> bool:
        """Scrub where it is still to be done; False where it was not possible.

        Somebody may be reading the write-ahead log, or answer from an older index: then the next
        write or start does it. Without `wait` a scrub is also left to the thread that is at one.
        """
        if self._done == self._owed:
            return True
        if not self._turn.acquire(blocking=wait):
            return False
        try:
            owed = self._owed
            if self._done < owed:
                others_forgot = self._forget_others()
                if not (self._store.database.scrub() and others_forgot):
                    return False
                self._done = owed
            return True
        finally:
            self._turn.release()
