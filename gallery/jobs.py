"""The log of the rebuild jobs that a service was asked for; it survives a kill of the service."""

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, Update, func, insert, select, update

from gallery.consents import written
from gallery.embedding import Progress, WalkEncoder
from gallery.errors import JobNotFound, RebuildRefused
from gallery.finding import moment_from
from gallery.generations import now, read_head
from gallery.rebuild import REBUILD, RebuildReport, rebuild
from gallery.schema import audit, galleries, jobs
from gallery.store import Store

JobState = Literal["running", "done", "failed", "cancelled", "interrupted"]
RUNNING: JobState = "running"
# State of a running job from the point on where it can no longer be cancelled.
_SWITCHING = "switching"
_AT_WORK = (RUNNING, _SWITCHING)
_INTERRUPTED = "the service ended meanwhile; a rebuild to the same model goes on from there"
_AGAIN = "the service ended at {} of {} samples; it goes on from there"
_STUCK = "the service ended twice at {} of {} samples; ask for the rebuild again to go on"
_CANCELLED = "somebody stopped it; a rebuild to the same model goes on from there"
_OVERTAKEN = (
    "it was not gone on with: the gallery was rebuilt, rolled back or cleared of other generations "
    "since; ask for the rebuild again if it is still wanted"
)
_RESTORED = (
    "it was not gone on with: the store was restored from a backup since; ask for the rebuild "
    "again if it is still wanted"
)
_OVERTAKING = (REBUILD, "rollback", "drop")
"""Audit log actions by which somebody decides what answers."""
_LISTED = 50


@dataclass(frozen=True)
class Job:
    """One requested rebuild."""

    job_id: str
    kind: str
    model_id: str
    state: JobState
    done: int
    """Samples embedded in the new generation so far."""
    total: int
    message: str
    """A sentence on how it ended, or that it continued after a restart; else empty."""
    created_at: datetime | None
    updated_at: datetime | None
    """Both are None if they can no longer be read."""


class JobLog:
    """The rebuild jobs of one gallery, in its store. All methods are thread-safe.

    A job is at work as long as its process holds `alone`, from before it is added or taken up until
    its end is noted. A job marked as running while nobody holds that was left over by a process
    that ended.

    Every method may raise StoreUnavailable or StoreFull.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def alone(self) -> AbstractContextManager[None]:
        """Keep every other process from rebuilding the gallery.

        Raises:
            RebuildRefused: another process is rebuilding it.

        """
        return self._store.database.alone(REBUILD, self._store.gallery_id)

    def add(self, model_id: str) -> Job:
        """Record that a rebuild starts."""
        of_gallery = galleries.c.id == self._store.gallery_id
        row = {
            "id": secrets.token_hex(8),
            "gallery": self._store.gallery_id,
            "kind": REBUILD,
            "model_id": model_id,
            "state": RUNNING,
            "done": 0,
            "total": 0,
            "message": "",
            "audit_number": select(galleries.c.audit_number).where(of_gallery).scalar_subquery(),
        }
        with self._store.database.writing() as connection:
            at = self._behind_the_latest(connection)
            added = insert(jobs).values({**row, "created_at": at, "updated_at": at}).returning(jobs)
            return _job(connection.execute(added).one())

    def _behind_the_latest(self, connection: Connection) -> str:
        """Return the time, or just behind the latest job if the clock was set back since that."""
        of_gallery = jobs.c.gallery == self._store.gallery_id
        latest = connection.scalar(select(func.max(jobs.c.created_at)).where(of_gallery))
        moment, at = moment_from(latest), now()
        if moment is None or latest < at:
            return at
        return written(moment + timedelta(milliseconds=1))

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: the gallery has no such job.

        """
        with self._store.database.reading() as connection:
            return _job(self._row(connection, job_id))

    def latest(self) -> tuple[Job, ...]:
        """Return the latest jobs, newest first."""
        query = self._rows().limit(_LISTED)
        with self._store.database.reading() as connection:
            return tuple(_job(row) for row in connection.execute(query))

    def progress(self, job_id: str, done: int, total: int) -> bool:
        """Record a job's progress; return whether to continue, that is, nobody cancelled it."""
        noted = self._changed(job_id, done=done, total=total).returning(jobs.c.state)
        with self._store.database.writing() as connection:
            state: str | None = connection.scalar(noted)
        return state != "cancelled"

    def cancel(self, job_id: str) -> None:
        """Cancel a job before its switch, in whichever process it runs; a finished one stays.

        Raises:
            JobNotFound: the gallery has no such job.
            RebuildRefused: the switch has begun.

        """
        with self._store.database.writing() as connection:
            # SELECT FOR UPDATE, so that a simultaneous cancel and switch are put in order.
            row = self._row(connection, job_id, locked=True)
            if row.state == _SWITCHING:
                raise RebuildRefused(
                    "expected a rebuild that can still be stopped, got one whose generation is "
                    "being made live: see how it ends, and roll back if it is not wanted"
                )
            if row.state in (RUNNING, "interrupted"):
                cancelled = self._changed(job_id, state="cancelled", message=_CANCELLED)
                connection.execute(cancelled)

    def begin_switch(self, job_id: str) -> bool:
        """Make a job uncancellable from now on; False if it was cancelled and must not switch."""
        begun = self._changed(job_id, state=_SWITCHING).where(jobs.c.state.in_(_AT_WORK))
        with self._store.database.writing() as connection:
            return connection.execute(begun).rowcount == 1

    def end(self, job_id: str, state: JobState, message: str) -> None:
        """Record how a job ended; one cancelled elsewhere must not become "interrupted"."""
        ended = self._changed(job_id, state=state, message=message)
        if state == "interrupted":
            ended = ended.where(jobs.c.state.in_(_AT_WORK))
        with self._store.database.writing() as connection:
            connection.execute(ended)

    def rebuild(
        self,
        encoder: WalkEncoder,
        *,
        sha256: str,
        progress: Progress,
        checking: Callable[[], None],
        before_switch: Callable[[], None],
        actor: str,
    ) -> RebuildReport:
        """Rebuild the gallery while holding `alone`; see `gallery.rebuild.rebuild`."""
        return rebuild(
            self._store,
            encoder,
            sha256=sha256,
            progress=progress,
            checking=checking,
            before_switch=before_switch,
            actor=actor,
            is_alone=True,
        )

    def take_up(self) -> Job | None:
        """Take up the latest job, while holding `alone`, if the end of its process interrupted it.

        Returns None if there is none; if somebody has since decided by a command what answers; and
        if the job made no progress since it was last taken up, as whatever ended the process could
        do so at every start.
        """
        with self._store.database.writing() as connection:
            latest = connection.execute(self._rows().limit(1).with_for_update()).first()
            left_over = update(jobs).where(
                jobs.c.gallery == self._store.gallery_id, jobs.c.state.in_(_AT_WORK)
            )
            ended = {"state": "interrupted", "message": _INTERRUPTED, "updated_at": now()}
            connection.execute(left_over.values(ended))
            if latest is None or latest.audit_number is None:
                return None
            if latest.state not in (*_AT_WORK, "interrupted"):
                return None
            return self._taken_up(connection, latest)

    def _taken_up(self, connection: Connection, row: Row[Any]) -> Job | None:
        again, stuck = (text.format(row.done, row.total) for text in (_AGAIN, _STUCK))
        if self._is_overtaken(connection, row):
            told = {"state": "interrupted", "message": _OVERTAKEN, "audit_number": None}
        elif row.message in (again, stuck):
            told = {"state": "interrupted", "message": stuck}
        else:
            told = {"state": RUNNING, "message": again}
        connection.execute(self._changed(row.id, **told))
        return _job(self._row(connection, row.id)) if told["state"] == RUNNING else None

    def _is_overtaken(self, connection: Connection, row: Row[Any]) -> bool:
        gallery = self._store.gallery_id
        if read_head(connection, gallery).model.model_id == row.model_id:
            return False  # maybe by its own switch, which it only has to be told of
        settled = select(audit.c.number).where(
            audit.c.gallery == gallery,
            audit.c.number > row.audit_number,
            audit.c.action.in_(_OVERTAKING),
        )
        return connection.execute(settled.limit(1)).first() is not None

    def _rows(self) -> Select[Any]:
        of_gallery = jobs.c.gallery == self._store.gallery_id
        return select(jobs).where(of_gallery).order_by(jobs.c.created_at.desc())

    def _row(self, connection: Connection, job_id: str, *, locked: bool = False) -> Row[Any]:
        query = self._rows().where(jobs.c.id == job_id)
        row = connection.execute(query.with_for_update() if locked else query).first()
        if row is None:
            raise JobNotFound(
                f"expected a job of the gallery {self._store.name}, got {job_id!r}, which does not "
                "exist"
            )
        return row

    def _changed(self, job_id: str, **values: object) -> Update:
        return update(jobs).where(jobs.c.id == job_id).values(updated_at=now(), **values)


def leave_unfinished(connection: Connection) -> None:
    """Keep a restored store from continuing a rebuild that was unfinished in its backup."""
    unfinished = jobs.c.state.in_((*_AT_WORK, "interrupted"))
    left = {"state": "interrupted", "message": _RESTORED, "audit_number": None}
    connection.execute(update(jobs).where(unfinished).values(left))


def _job(row: Row[Any]) -> Job:
    return Job(
        job_id=row.id,
        kind=row.kind,
        model_id=row.model_id,
        state=RUNNING if row.state == _SWITCHING else row.state,
        done=row.done,
        total=row.total,
        message=row.message,
        created_at=moment_from(row.created_at),
        updated_at=moment_from(row.updated_at),
    )
