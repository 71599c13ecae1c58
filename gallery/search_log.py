"""Records searches in the audit log, in batches by a background thread, so that no search waits.

A change to the gallery is logged in the transaction that makes it. A search changes nothing, so it
does not wait for the disk: its note is written about `_WAIT_S` seconds later, and a killed process
loses only the notes of that period. If the store cannot be written, notes are kept until it can; if
too many pile up, the rest is dropped, and the log records how many.
"""

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread

from sqlalchemy import Connection, select

from gallery import audit
from gallery.errors import StoreError
from gallery.generations import now
from gallery.schema import subjects
from gallery.store import Store

_WAIT_S = 0.2
_RETRY_S = 1.0
_BATCH = 500
_PENDING = 20_000
_LOG = logging.getLogger("metagait.gallery")


@dataclass(frozen=True)
class SearchNote:
    """A search that was answered."""

    action: str
    """`identify` or `verify`."""
    outcome: str
    """`match`, `no_match`, `inconclusive`, …"""
    actor: str
    generation: int
    subject: str | None
    """The subject named or claimed; stored as the subject's token."""
    counts: Mapping[str, int] = field(default_factory=dict)
    at: str = field(default_factory=now)


class SearchLog:
    """Takes notes from any thread, and writes them in its own, which starts with the first note."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: deque[SearchNote] = deque()
        self._lost = 0
        self._changed = Condition()
        self._writer: Thread | None = None
        self._closing = False

    def add(self, note: SearchNote) -> None:
        """Queue a note; returns at once."""
        with self._changed:
            if len(self._pending) >= _PENDING:
                self._lost += 1
                return
            self._pending.append(note)
            if self._writer is None:
                self._writer = Thread(target=self._run, name="search-log", daemon=True)
                self._writer.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Write all queued notes, now and in this thread; raises StoreError if impossible."""
        while notes := self._take():
            self._write_or_return(notes)

    def close(self) -> None:
        """Write all queued notes and stop; if that is impossible, log how many are lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()
        try:
            self.flush()
        except StoreError as error:
            _LOG.error(
                "%d searches are missing in the audit log, which could not be written: %s",
                len(self._pending),
                error,
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                if self._closing:
                    return
                # Let more notes join the batch; closing interrupts the wait.
                self._changed.wait_for(lambda: self._closing, timeout=_WAIT_S)
            try:
                self.flush()
            except Exception as error:  # whatever it is, no other thread would note anything again
                _LOG.error(
                    "the audit log cannot be written now; searches are noted in it later: %s", error
                )
                time.sleep(_RETRY_S)

    def _take(self) -> list[SearchNote]:
        with self._changed:
            return [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]

    def _write_or_return(self, notes: Sequence[SearchNote]) -> None:
        with self._changed:
            lost, self._lost = self._lost, 0
        try:
            with self._store.database.writing() as connection:
                entries = self._entries(connection, notes)
                if lost:
                    counts = {"searches": lost}
                    entries.append(audit.Entry("lose", "lost", counts=counts))
                audit.append(connection, self._store.gallery_id, entries)
        except BaseException:
            with self._changed:
                self._pending.extendleft(reversed(notes))
                self._lost += lost
            raise

    def _entries(self, connection: Connection, notes: Sequence[SearchNote]) -> list[audit.Entry]:
        names = {note.subject for note in notes if note.subject is not None}
        of_gallery = subjects.c.gallery == self._store.gallery_id
        query = select(subjects.c.subject, subjects.c.token)
        found = connection.execute(query.where(of_gallery, subjects.c.subject.in_(names)))
        tokens = {row.subject: row.token for row in found}
        return [
            audit.Entry(
                note.action,
                note.outcome,
                note.actor,
                note.generation,
                None if note.subject is None else tokens.get(note.subject),
                note.counts,
                note.at,
            )
            for note in notes
        ]
