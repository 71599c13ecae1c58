"""The rebuilds that a service was asked for: how they stand, also after it was killed."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update

from gallery.embedding import Progress, WalkEncoder
from gallery.errors import JobNotFound, RebuildRefused
from gallery.generations import now
from gallery.rebuild import REBUILD, RebuildReport, rebuild
from gallery.schema import jobs
from gallery.store import Store

JobState = Literal["running", "done", "failed", "cancelled", "interrupted"]
RUNNING: JobState = "running"
_INTERRUPTED = "the service ended meanwhile; a rebuild to the same model goes on from there"
_AGAIN = "the service ended at {} of {} samples; it goes on from there"
_STUCK = "the service ended twice at {} of {} samples; ask for the rebuild again to go on"
_LISTED = 50


@dataclass(frozen=True)
class Job:
    """One rebuild that was asked for."""

    job_id: str
    kind: str
    model_id: str
    state: JobState
    done: int
    """Samples embedded in the new generation."""
    total: int
    message: str
    """How it ended, or that it goes on after a restart, in a sentence; empty while it runs."""
    created_at: datetime
    updated_at: datetime


class JobLog:
    """The rebuilds of one gallery, in its store; any thread may call any method.

    Every method may raise StoreUnavailable or StoreFull.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def add(self, model_id: str) -> Job:
        """Note that a rebuild begins."""
        job_id, at = secrets.token_hex(8), now()
        row = {
            "id": job_id,
            "gallery": self._store.gallery_id,
            "kind": REBUILD,
            "model_id": model_id,
            "state": RUNNING,
            "done": 0,
            "total": 0,
            "message": "",
            "created_at": at,
            "updated_at": at,
        }
        with self._store.database.writing() as connection:
            connection.execute(insert(jobs).values(row))
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """Read a job.

        Raises:
            JobNotFound: there is no such job of this gallery.

        """
        with self._store.database.reading() as connection:
            row = connection.execute(self._rows().where(jobs.c.id == job_id)).first()
        if row is None:
            raise JobNotFound(
                f"expected a job of the gallery {self._store.name}, got {job_id!r}, which is none"
            )
        return _job(row)

    def latest(self) -> tuple[Job, ...]:
        """List jobs, the latest first."""
        query = self._rows().order_by(jobs.c.created_at.desc()).limit(_LISTED)
        with self._store.database.reading() as connection:
            return tuple(_job(row) for row in connection.execute(query))

    def progress(self, job_id: str, done: int, total: int) -> None:
        """Note how far a job is."""
        self._change(job_id, done=done, total=total)

    def end(self, job_id: str, state: JobState, message: str) -> None:
        """Note how a job ended."""
        self._change(job_id, state=state, message=message)

    def rebuild(
        self, encoder: WalkEncoder, *, sha256: str, progress: Progress, actor: str
    ) -> RebuildReport:
        """Rebuild the gallery; see `gallery.rebuild.rebuild`."""
        return rebuild(self._store, encoder, sha256=sha256, progress=progress, actor=actor)

    def take_up(self) -> Job | None:
        """Take up the latest job when the end of its process interrupted it; it runs again then.

        None when there is none, when another process is at work on the gallery, and when the job
        did not get on since it was taken up last: what ends the process could end every start.
        """
        try:
            database = self._store.database
            with database.alone(REBUILD, self._store.gallery_id), database.writing() as connection:
                return self._taken_up(connection)
        except RebuildRefused:
            return None

    def _taken_up(self, connection: Connection) -> Job | None:
        latest = self._rows().order_by(jobs.c.created_at.desc()).limit(1)
        row = connection.execute(latest).first()
        left_over = update(jobs).where(
            jobs.c.gallery == self._store.gallery_id, jobs.c.state == RUNNING
        )
        ended = {"state": "interrupted", "message": _INTERRUPTED, "updated_at": now()}
        connection.execute(left_over.values(ended))
        if row is None or row.state not in (RUNNING, "interrupted"):
            return None
        again, stuck = (text.format(row.done, row.total) for text in (_AGAIN, _STUCK))
        is_stuck = row.message in (again, stuck)
        state, message = ("interrupted", stuck) if is_stuck else (RUNNING, again)
        taken = update(jobs).where(jobs.c.id == row.id)
        connection.execute(taken.values(state=state, message=message, updated_at=now()))
        return None if is_stuck else _job(connection.execute(latest).one())

    def _rows(self) -> Any:
        return select(jobs).where(jobs.c.gallery == self._store.gallery_id)

    def _change(self, job_id: str, **values: object) -> None:
        changed = update(jobs).where(jobs.c.id == job_id).values(updated_at=now(), **values)
        with self._store.database.writing() as connection:
            connection.execute(changed)


def _job(row: Row[Any]) -> Job:
    return Job(
        job_id=row.id,
        kind=row.kind,
        model_id=row.model_id,
        state=row.state,
        done=row.done,
        total=row.total,
        message=row.message,
        created_at=datetime.fromisoformat(row.created_at),
        updated_at=datetime.fromisoformat(row.updated_at),
    )
