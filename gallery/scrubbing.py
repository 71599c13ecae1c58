"""After an erasure: updates the index, scrubs the files, and completes the receipt."""

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
from gallery.wiping import Wiped

_LOG = logging.getLogger("metagait.gallery")


class Follower(Protocol):
    """What must no longer find the erased data: `Current`, or `NoIndex` if no index is open."""

    def catch_up(self) -> None:
        """Apply every write that was acknowledged before this call."""

    def look_for(self, rows: Sequence[int], probes: NDArray[np.float32], generation: int) -> Looked:
        """Look for rows that should be gone, also by their embeddings of `generation`."""


class Scrubber:
    """Removes erased data from a gallery's files, at once or as soon as possible."""

    def __init__(self, store: Store, current: Follower, forget_others: Callable[[], bool]) -> None:
        """Take the index in use; `forget_others` empties other indexes' files, or returns False."""
        self._store = store
        self._current = current
        self._forget_others = forget_others
        # Counted, because another erasure may happen during a scrub. One scrub is owed from the
        # start: a process that was killed during an erasure may have left data behind.
        self._owed, self._done = 1, 0
        # Whether the last scrub left nothing; a file too large for it is left to a command.
        self._is_clean = False
        self._counting, self._turn = Lock(), Lock()

    def finish(self, erased: erasing.Erased) -> Erasure:
        """Let the index follow, scrub, look for what was erased, and store the findings as proof.

        The data is already deleted at this point. If it cannot be looked for, the receipt is
        returned without a proof: raising an error would lose its salt, and a repeated request would
        find nobody to erase.
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
        """Record that something was deleted that has to be scrubbed."""
        with self._counting:
            self._owed += 1

    def scrub(self, *, wait: bool = True) -> bool:
        """Do any scrub that is owed; return whether nothing is left in the files.

        If somebody reads what was deleted or answers from an older index, the next write or start
        does it. Without `wait`, it is also left to a thread that is already scrubbing.
        """
        if self._done == self._owed:
            return self._is_clean
        if not self._turn.acquire(blocking=wait):
            return False
        try:
            owed = self._owed
            if self._done < owed:
                others_forgot = self._forget_others()
                wiped = self._store.database.scrub()
                if wiped is Wiped.HELD or not others_forgot:
                    return False
                if wiped is Wiped.TOO_LARGE:
                    _LOG.warning(
                        "copies of what was deleted may remain in the database's file, which is "
                        "too large to be written anew in passing: run `metagait scrub`"
                    )
                self._is_clean, self._done = wiped is Wiped.ALL, owed
            return self._is_clean
        finally:
            self._turn.release()
