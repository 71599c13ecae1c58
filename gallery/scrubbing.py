"""What follows an erasure: the index forgets, the files are scrubbed, and a receipt is written."""

from collections.abc import Callable

from gallery import erasing
from gallery.current import Current
from gallery.records import Erasure
from gallery.store import Store


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
        """Let the index follow, scrub, look for what was erased, and keep the receipt."""
        self._must_scrub = True
        self._current.catch_up()
        self.scrub()
        files = "pending" if self._must_scrub else self._store.database.erased_bytes
        proof = erasing.prove(self._store, self._current, erased, files)
        return erasing.finish(self._store, erased, proof)

    def scrub(self) -> None:
        """Scrub where it is still to be done."""
        # Somebody may be reading the write-ahead log, or answer from an older index: then the next
        # write or start does it.
        if self._must_scrub:
            others_forgot = self._forget_others()
            self._must_scrub = not (self._store.database.scrub() and others_forgot)
