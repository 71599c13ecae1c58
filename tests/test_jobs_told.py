"""What a service tells of its rebuilds, and what may be done once it has told it."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from gallery import JobLog
from gallery.jobs import JobState
from gallery.store import Store
from model.encoder import open_encoder
from service.app import create_app
from service.errors import JobRunningError
from service.jobs import RebuildJobs
from service.settings import Settings
from tests.caller import calling
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
