"""What follows an erasure: the index forgets, the files are scrubbed, and a receipt is written."""

import logging
from collections.abc import Callable

from gallery import erasing
from gallery.current import Current
from gallery.errors import IndexUnavailable, StoreError
from gallery.records import Erasure
from gallery.store import Store

_LOG = logging.getLogger("metagait.gallery")


class Scrubber:
    """Leaves nothing of the erased in a gallery's files, at once or as soon as it can."""

    def __init__(self, store: Store, current: Current, forget_others: Callable[[], bool]) -> None:
        """Scrub for an index; `forget_others` empties the files of those before it, if it can."""
        self._store = store
        self._current = current
        self._forget_others = forget_others
        # A process that was killed while it erased may have left some.
        self._must_scrub = True

    def finish(self, erased: erasing.Erased) -> Erasure:
        """Let the index follow, scrub, look for what was erased, and keep the receipt.

        Whoever was erased is gone already. When nobody can look, the receipt stays without a proof:
        as an error it would be lost with its salt, and asking again would find nobody to erase.
        """
        self.owe()
        try:
            return self._proven(erased)
        except (IndexUnavailable, StoreError) as error:
            _LOG.warning("what was erased could not be looked for afterwards: %s", error)
            return erased.erasure

    def _proven(self, erased: erasing.Erased) -> Erasure:
        self._current.catch_up()
        self.scrub()
        files = "pending" if self._must_scrub else self._store.database.erased_bytes
        proof = erasing.prove(self._store, self._current, erased, files)
        return erasing.finish(self._store, erased, proof)

    def owe(self) -> None:
        """Note that something was taken away that is to be scrubbed."""
        self._must_scrub = True

    def scrub(self) -> None:
        """Scrub where it is still to be done."""
        # Somebody may be reading the write-ahead log, or answer from an older index: then the next
        # write or start does it.
        if self._must_scrub:
            others_forgot = self._forget_others()
            self._must_scrub = not (self._store.database.scrub() and others_forgot)
