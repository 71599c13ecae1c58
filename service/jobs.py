"""Rebuilds that run inside the service, one at a time, in a thread beside the requests."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gallery import GalleryError, Job, JobLog, ModelFiles, RebuildRefused, RebuildStopped
from model.encoder import Encoder
from model.errors import ModelError
from service.errors import JobRunningError, UnknownModelError, UnusableModelError
from service.keyring import LOCAL
from service.settings import Settings

_LOG = logging.getLogger("metagait.service")
# Each note of the progress is a transaction; a watcher does not look more often.
_NOTE_EVERY_S = 1.0
# A store that does not answer is asked again for as long as the service runs.
_NOTE_AGAIN_S = 5.0
_SUFFIX = ".onnx"
OpenModel = Callable[[Path], Encoder]
Find = Callable[[], tuple[Path, Encoder]]


@dataclass(frozen=True)
class Watched:
    """A job, and how many seconds it still takes where that can be told."""

    job: Job
    eta_s: float | None


class _Running:
    """The job at work, and what it tells of itself."""

    def __init__(self, job: Job, actor: str) -> None:
        self.job = job
        self.actor = actor
        self.stopped_as: Literal["cancelled", "interrupted"] | None = None
        self._began: tuple[float, int] | None = None
        self._noted = 0.0

    def eta_s(self) -> float | None:
        if self._began is None or self.job.state != "running":
            return None
        began, done_before = self._began
        done = self.job.done - done_before
        return (
            (time.monotonic() - began) / done * (self.job.total - self.job.done) if done else None
        )

    def require_wanted(self) -> None:
        """Go on; raises RebuildStopped when somebody stopped it."""
        if self.stopped_as is not None:
            raise RebuildStopped(
                f"stopped at {self.job.done} of {self.job.total} samples; a rebuild to the same "
                "model goes on from there"
            )

    def is_noted_again(self, done: int, total: int) -> bool:
        """Take in the progress; tells whether it is time to write it down."""
        self.job = replace(self.job, done=done, total=total)
        self._began = self._began or (time.monotonic(), done)
        return self.is_noted_long_ago() or done >= total

    def is_noted_long_ago(self) -> bool:
        """Tell whether it is time to write down again that it is at work, which the caller does."""
        at = time.monotonic()
        if at - self._noted < _NOTE_EVERY_S:
            return False
        self._noted = at
        return True


class RebuildJobs:
    """Starts, shows and stops rebuilds of the gallery that is served.

    Any thread may call any method; those that may raise StoreUnavailable or StoreFull say nothing
    of it. What a stopped rebuild embedded is kept, and a later one to the same model goes on.
    """

    def __init__(
        self,
        settings: Settings,
        log: JobLog,
        open_model: OpenModel,
        *,
        note_again_s: float = _NOTE_AGAIN_S,
    ) -> None:
        self._settings = settings
        self._log = log
        self._open_model = open_model
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None
        self._note_again_s = note_again_s
        self._closing = threading.Event()

    def resume(self) -> None:
        """Go on with a rebuild that the end of a service interrupted; raises nothing."""
        try:
            with ExitStack() as alone:
                alone.enter_context(self._log.alone())
                job = self._log.take_up()
                if job is not None:
                    self._go_on(job, alone.pop_all())
        except RebuildRefused:
            return  # whoever rebuilds is at work on it
        except GalleryError as error:
            _LOG.warning(
                "could not look for a rebuild that a killed service left unfinished: %s", error
            )

    def _go_on(self, job: Job, alone: ExitStack) -> None:
        with self._lock:
            running = self._running = _Running(job, LOCAL.actor)
            self._begin(running, alone, lambda: self._found(job.model_id))

    def start(self, model: str | None, actor: str = LOCAL.actor) -> Watched:
        """Begin to rebuild the gallery.

        Args:
            model: the id of a model whose file the data folder keeps, or a file of the models
                folder, by its name in there; None for the model of the settings.
            actor: who asks, for the audit log.

        Raises:
            UnknownModelError: it is neither.
            UnusableModelError: the file is no model that runs here.
            JobRunningError: a rebuild runs already, or is about to.
            RebuildRefused: another process rebuilds the gallery.

        """
        with self._turn():
            path = self._path_of(model)
            encoder = self._opened(path)
            with ExitStack() as on_error:
                on_error.callback(encoder.close)
                alone = on_error.enter_context(ExitStack())
                alone.enter_context(self._log.alone())
                running = self._running = _Running(self._log.add(encoder.facts.model_id), actor)
                on_error.pop_all()
            self._begin(running, alone, lambda: (path, encoder))
        return Watched(running.job, None)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the one that begins a rebuild; to open its model may take long, so nobody waits."""
        if not self._lock.acquire(blocking=False):
            raise JobRunningError(
                "expected one rebuild at a time, got a second one while the model of another is "
                "being opened"
            )
        try:
            if self._running is not None:
                raise JobRunningError(
                    f"expected one rebuild at a time, got a second one while "
                    f"{self._running.job.job_id} runs"
                )
            yield
        finally:
            self._lock.release()

    def get(self, job_id: str) -> Watched:
        """Show how a job stands; raises JobNotFound."""
        running = self._running
        if running is not None and running.job.job_id == job_id:
            return Watched(running.job, running.eta_s())
        return Watched(self._log.get(job_id), None)

    def latest(self) -> tuple[Watched, ...]:
        """List the latest jobs, the last one first."""
        return tuple(self.get(job.job_id) for job in self._log.latest())

    def cancel(self, job_id: str) -> Watched:
        """Stop a job after the batch that it is at; one that is over stays as it ended.

        Raises:
            JobNotFound: there is no such job.
            RebuildRefused: its switch has begun.

        """
        watched = self.get(job_id)
        if watched.job.state not in ("running", "interrupted"):
            return watched
        self._log.cancel(job_id)
        running = self._running
        if running is not None and running.job.job_id == job_id:
            running.stopped_as = "cancelled"
        return self.get(job_id)

    def close(self) -> None:
        """Stop what runs, so that a later start can go on with it, and wait until it has."""
        running, thread = self._running, self._thread
        self._closing.set()
        if running is not None:
            running.stopped_as = running.stopped_as or "interrupted"
        if thread is not None:
            thread.join()

    def _begin(self, running: _Running, alone: ExitStack, find: Find) -> None:
        args = running, alone, find
        self._thread = threading.Thread(target=self._work, args=args, name="rebuild")
        self._thread.start()

    def _work(self, running: _Running, alone: ExitStack, find: Find) -> None:
        try:
            # Until its end is noted: one that says it runs, and nobody is at it, is taken up.
            with alone:
                self._note_end(running, self._ended(running, find))
        finally:
            # It says that it runs until now, so that who sees it end may start another.
            self._running = None

    def _ended(self, running: _Running, find: Find) -> Job:
        """Rebuild; gives the job as it ended."""
        try:
            path, encoder = find()
            with closing(encoder):
                message = self._rebuild(running, path, encoder)
            return replace(running.job, state="done", message=message)
        except RebuildStopped as stopped:
            state = running.stopped_as or "interrupted"
            return replace(running.job, state=state, message=str(stopped))
        except Exception as error:
            # Nobody waits for this thread: whatever it is has to be found in the job.
            _LOG.warning("the rebuild %s failed: %r", running.job.job_id, error)
            said = (
                str(error)
                if getattr(error, "for_people", False)
                else "an error of the service; its log says more"
            )
            return replace(running.job, state="failed", message=said)

    def _note_end(self, running: _Running, job: Job) -> None:
        """Write down how a job ended, as soon as the store takes it; else the next start does."""
        while True:
            try:
                return self._log.end(job.job_id, job.state, job.message)
            except GalleryError as error:
                _LOG.warning(
                    "the rebuild %s has ended, but that cannot be written down yet: %s",
                    job.job_id,
                    error,
                )
            running.job = job  # told from here on, because the store does not
            if self._closing.wait(self._note_again_s):
                return None

    def _rebuild(self, running: _Running, path: Path, encoder: Encoder) -> str:
        job_id = running.job.job_id

        def note() -> None:
            # Told so by another process, where it was cancelled through that one.
            if not self._log.progress(job_id, running.job.done, running.job.total):
                running.stopped_as = running.stopped_as or "cancelled"

        def progress(done: int, total: int) -> None:
            if running.is_noted_again(done, total):
                note()
            running.require_wanted()

        def checking() -> None:
            if running.is_noted_long_ago():
                note()
            running.require_wanted()

        def before_switch() -> None:
            running.require_wanted()
            if not self._log.begin_switch(job_id):
                running.stopped_as = "cancelled"
                running.require_wanted()

        report = self._log.rebuild(
            encoder,
            sha256=ModelFiles.of(self._settings.data).add(path, encoder.facts.model_id),
            progress=progress,
            checking=checking,
            before_switch=before_switch,
            actor=running.actor,
        )
        if not report.switched:
            return "nothing to do: that model is live already"
        return f"generation {report.generation} is live, {report.embedded} samples embedded"

    def _path_of(self, model: str | None) -> Path:
        if model is None:
            return self._settings.model
        kept = ModelFiles.of(self._settings.data)
        if model in kept.ids():
            return kept.find(model)
        path = None if self._settings.models is None else _within(self._settings.models, model)
        if path is None:
            raise UnknownModelError(
                "expected the id of a model that the gallery had, or the name of an .onnx file in "
                f"the folder METAGAIT_MODELS, got {model[:200]!r}"
            )
        return path

    def _found(self, model_id: str) -> tuple[Path, Encoder]:
        path = self._path_of(model_id)
        return path, self._opened(path)

    def _opened(self, path: Path) -> Encoder:
        try:
            return self._open_model(path)
        except ModelError as error:
            raise UnusableModelError(str(error)) from error


def _within(folder: Path, name: str) -> Path | None:
    """Find a model's file by its name in a folder; None when there is none of that name."""
    try:
        # Resolved first, so that neither `..` nor a link leads out of the folder.
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or path.suffix != _SUFFIX:
            return None
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, or NUL in it
        return None
