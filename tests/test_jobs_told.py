"""What a service tells of its rebuilds, and what may be done once it has told it."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gallery import JobLog
from gallery.jobs import JobState
from gallery.rebuild import RebuildReport
from gallery.store import Store
from metagait import main
from model.encoder import open_encoder
from service.app import create_app
from service.errors import JobRunningError
from service.jobs import RebuildJobs
from service.settings import Settings
from tests.caller import calling
from tests.fakes import npy, walker
from tests.test_jobs import SlowEncoder
from tests.tiny_models import tiny_model
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder / "a.onnx", "tiny-a", dimensions=11)
    tiny_model(folder / "b.onnx", "tiny-b", dimensions=4, factor=-3.0)
    return folder


@pytest.fixture
def with_models(settings: Settings, models: Path) -> Settings:
    return settings.model_copy(update={"model": models / "a.onnx", "models": models})


def test_the_location_of_a_job_names_its_gallery_whatever_that_is_called(
    with_models: Settings,
) -> None:
    odd = with_models.model_copy(update={"gallery": "лаб & co"})
    with calling(create_app(odd)) as client:
        asked = client.post("/rebuild", params={"gallery": odd.gallery}, json={"model": "b.onnx"})
        assert asked.status_code == 202, asked.text
        assert client.get(asked.headers["location"]).json()["job_id"] == asked.json()["job_id"]


class SlowLog(JobLog):
    """A log whose store takes its time to note the end of a rebuild."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.entered, self.free = threading.Event(), threading.Event()

    def end(self, job_id: str, state: JobState, message: str) -> None:
        self.entered.set()
        assert self.free.wait(20)
        super().end(job_id, state, message)


def test_a_rebuild_is_said_to_be_over_when_another_may_start(with_models: Settings) -> None:
    with calling(create_app(with_models)), closing(Store.open(with_models.data)) as store:
        log = SlowLog(store)
        jobs = RebuildJobs(with_models, log, open_encoder)
        job_id = jobs.start("b.onnx").job.job_id
        assert log.entered.wait(20)
        with pytest.raises(JobRunningError):
            jobs.start("b.onnx")
        assert jobs.get(job_id).job.state == "running"
        log.free.set()
        wait_until(lambda: jobs.get(job_id).job.state == "done")
        jobs.start("b.onnx")
        jobs.close()


class StoppedWhileItChecks(JobLog):
    """A log whose rebuild is told to stop when all is embedded, and the check has begun."""

    stop: Callable[[], object]

    def rebuild(self, *words: Any, checking: Callable[[], None], **named: Any) -> RebuildReport:
        def stop_and_check() -> None:
            self.stop()
            checking()

        return super().rebuild(*words, checking=stop_and_check, **named)

    def begin_switch(self, job_id: str) -> bool:
        raise AssertionError("expected no rebuild that goes on to its switch")


@pytest.mark.parametrize(("by", "state"), [("cancel", "cancelled"), ("close", "interrupted")])
def test_the_check_of_a_rebuild_ends_when_that_is_stopped(
    with_models: Settings, by: str, state: str
) -> None:
    with calling(create_app(with_models)) as client, closing(Store.open(with_models.data)) as store:
        body = {"sequence": ("w", npy(walker(8)))}
        assert client.post("/enroll", data={"subject": "ann"}, files=body).is_success
        log = StoppedWhileItChecks(store)
        jobs = RebuildJobs(with_models, log, open_encoder)
        ways = {
            "cancel": lambda: jobs.cancel(log.latest()[0].job_id),
            "close": lambda: setattr(jobs._running, "stopped_as", "interrupted"),
        }
        log.stop = ways[by]
        job_id = jobs.start("b.onnx").job.job_id
        wait_until(lambda: jobs.get(job_id).job.state != "running")
        job = jobs.get(job_id).job
        assert (job.state, job.done, job.total) == (state, 1, 1), job.message
        jobs.close()


@pytest.mark.parametrize("option", ["--rollback", "--drop-old"])
def test_a_command_does_not_settle_what_answers_while_a_rebuild_is_at_work(
    with_models: Settings, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entered, free = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert free.wait(20)

    def command() -> int:
        return main(["rebuild", "--data", str(with_models.data), option])

    with calling(create_app(with_models)) as client, closing(Store.open(with_models.data)) as store:
        body = {"sequence": ("w", npy(walker(8)))}
        assert client.post("/enroll", data={"subject": "ann"}, files=body).is_success
        jobs = RebuildJobs(with_models, JobLog(store), lambda path: SlowEncoder(path, wait))
        job_id = jobs.start("b.onnx").job.job_id
        assert entered.wait(20)
        assert command() == 2
        assert "expected a gallery that nobody rebuilds now" in capsys.readouterr().err
        free.set()
        wait_until(lambda: jobs.get(job_id).job.state == "done")
        jobs.close()
        assert command() == 0
