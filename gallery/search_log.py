"""Searches in the audit log: written many at a time by a thread of its own, so that none waits.

What changes the gallery is logged in the same transaction as the change. A search changes nothing,
so it does not wait for the disk: its note is written at most `_WAIT_S` later, and a process that is
killed loses the notes of that moment, no more. A store that cannot be written keeps the notes
waiting; when there are too many, the log says itself how many it lost.
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
    """Who was named, or claimed to be; becomes the subject's token when it is written."""
    counts: Mapping[str, int] = field(default_factory=dict)
    at: str = field(default_factory=now)


class SearchLog:
    """Takes notes of searches in any thread, and writes them in its own, which starts with one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: deque[SearchNote] = deque()
        self._lost = 0
        self._changed = Condition()
        self._writer: Thread | None = None
        self._closing = False

    def add(self, note: SearchNote) -> None:
        """Take a note; returns at once."""
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
        """Write what waits, now and in this thread; raises StoreError when it cannot be written."""
        while notes := self._take():
            self._write_or_return(notes)

    def close(self) -> None:
        """Write what waits and stop; what cannot be written any more is said in the log."""
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
                # More notes join while it waits; closing wakes it.
                self._changed.wait_for(lambda: self._closing, timeout=_WAIT_S)
            try:
                self.flush()
            except StoreError as error:
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
