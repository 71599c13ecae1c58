"""Rebuild jobs: a gallery is rebuilt inside the service, one job at a time, in its own thread."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from gallery import GalleryError, Job, JobLog, ModelFiles, RebuildRefused, RebuildStopped
from model.encoder import Encoder
from model.errors import ModelError
from service.errors import JobRunningError, UnknownModelError, UnusableModelError
from service.keyring import LOCAL
from service.progress import Running, Watched
from service.settings import Settings

_LOG = logging.getLogger("metagait.service")
# A store that cannot record a job's end is tried again for as long as the service runs.
_NOTE_AGAIN_S = 5.0
_SUFFIX = ".onnx"
OpenModel = Callable[[Path], Encoder]
Find = Callable[[], tuple[Path, Encoder]]


class RebuildJobs:
    """Starts, shows and stops rebuilds of one served gallery. All methods are thread-safe.

    Methods may also raise StoreUnavailable or StoreFull, which is not repeated below. A stopped
    rebuild keeps what it has embedded, and a later one to the same model goes on from there.
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
        self._running: Running | None = None
        self._thread: threading.Thread | None = None
        self._note_again_s = note_again_s
        self._closing = threading.Event()

    def resume(self) -> None:
        """Continue a rebuild that was interrupted by the end of a service; raises nothing."""
        try:
            with ExitStack() as alone:
                alone.enter_context(self._log.alone())
                job = self._log.take_up()
                if job is not None:
                    self._go_on(job, alone.pop_all())
        except RebuildRefused:
            return  # another process is rebuilding
        except GalleryError as error:
            _LOG.warning(
                "could not look for a rebuild that a killed service left unfinished: %s", error
            )

    def _go_on(self, job: Job, alone: ExitStack) -> None:
        with self._lock:
            running = self._running = Running(job, LOCAL.actor)
            self._begin(running, alone, lambda: self._found(job.model_id))

    def start(self, model: str | None, actor: str = LOCAL.actor) -> Watched:
        """Start to rebuild the gallery, and return the new job.

        Args:
            model: the id of a model whose file is in the data folder, or the name of a file in the
                models folder; None for the model of the settings.
            actor: who made the request, for the audit log.

        Raises:
            UnknownModelError: the model is neither.
            UnusableModelError: the file is not a model that can run here.
            JobRunningError: a rebuild is running, or about to.
            RebuildRefused: another process is rebuilding the gallery.

        """
        with self._turn():
            path = self._path_of(model)
            encoder = self._opened(path)
            with ExitStack() as on_error:
                on_error.callback(encoder.close)
                alone = on_error.enter_context(ExitStack())
                alone.enter_context(self._log.alone())
                running = self._running = Running(self._log.add(encoder.facts.model_id), actor)
                on_error.pop_all()
            self._begin(running, alone, lambda: (path, encoder))
        return Watched(running.job, None)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the only one to start a rebuild; others fail at once, as opening a model is slow."""
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
        """Return a job as it is now; raises JobNotFound."""
        running = self._running
        if running is not None and running.job.job_id == job_id:
            return running.watched()
        return Watched(self._log.get(job_id), None)

    def latest(self) -> tuple[Watched, ...]:
        """Return the latest jobs, newest first."""
        return tuple(self.get(job.job_id) for job in self._log.latest())

    def cancel(self, job_id: str) -> Watched:
        """Stop a job after its current batch, and return it; one that has ended is not changed.

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
        """Interrupt the running job, which a later start can continue, and wait for its end."""
        running, thread = self._running, self._thread
        self._closing.set()
        if running is not None:
            running.stopped_as = running.stopped_as or "interrupted"
        if thread is not None:
            thread.join()

    def _begin(self, running: Running, alone: ExitStack, find: Find) -> None:
        args = running, alone, find
        self._thread = threading.Thread(target=self._work, args=args, name="rebuild")
        self._thread.start()

    def _work(self, running: Running, alone: ExitStack, find: Find) -> None:
        try:
            # Held until the end is recorded: a running job whose lock is free gets taken up.
            with alone:
                self._note_end(running, self._ended(running, find))
        finally:
            # Cleared last, so that whoever sees the job gone can start another.
            self._running = None

    def _ended(self, running: Running, find: Find) -> Job:
        """Rebuild, and return the job as it ended."""
        try:
            path, encoder = find()
            with closing(encoder):
                message = self._rebuild(running, path, encoder)
            return replace(running.job, state="done", message=message)
        except RebuildStopped as stopped:
            state = running.stopped_as or "interrupted"
            return replace(running.job, state=state, message=str(stopped))
        except Exception as error:
            # Nobody waits for this thread: whatever it is must be found in the job.
            _LOG.warning("the rebuild %s failed: %r", running.job.job_id, error)
            said = (
                str(error)
                if getattr(error, "for_people", False)
                else "an error of the service; its log says more"
            )
            return replace(running.job, state="failed", message=said)

    def _note_end(self, running: Running, job: Job) -> None:
        """Record how a job ended, as soon as the store allows; else the next start takes it up."""
        while True:
            try:
                return self._log.end(job.job_id, job.state, job.message)
            except GalleryError as error:
                _LOG.warning(
                    "the rebuild %s has ended, but that cannot be written down yet: %s",
                    job.job_id,
                    error,
                )
            running.job = job  # `get` answers from here, as the store does not know
            if self._closing.wait(self._note_again_s):
                return None

    def _rebuild(self, running: Running, path: Path, encoder: Encoder) -> str:
        job_id = running.job.job_id

        def note() -> None:
            # False if the job was cancelled through another process.
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
    """Return a model file by its name in a folder; None if there is none."""
    try:
        # Resolve first, so that neither `..` nor a link leads out of the folder.
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or path.suffix != _SUFFIX:
            return None
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, or a NUL
        return None
