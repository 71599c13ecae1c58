"""Rebuilds inside the service: started, watched, stopped, and left over by a killed process."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from gallery import Gallery, JobLog, StoreUnavailable
from gallery.jobs import JobState
from gallery.schema import jobs as jobs_table
from gallery.store import Store
from model.encoder import OnnxEncoder, open_encoder
from service.app import create_app
from service.errors import JobRunningError, UnknownModelError, UnusableModelError
from service.jobs import RebuildJobs
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import npy, walker
from tests.tiny_models import tiny_model
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent
BUILDS = {"ann": 8, "ben": 13, "cem": 18}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    tiny_model(made / "a.onnx", "tiny-a", dimensions=11)
    tiny_model(made / "b.onnx", "tiny-b", dimensions=4, factor=-3.0)
    (made / "broken.onnx").write_bytes(b"no model")
    (made / "notes.txt").write_text("no model")
    (made / "loop.onnx").symlink_to("loop.onnx")
    return made


@pytest.fixture
def with_models(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"model": folder / "a.onnx", "models": folder})


def id_of(path: Path) -> str:
    return OnnxEncoder.open(path).facts.model_id


def identify(client: Caller, build: int) -> dict[str, object]:
    body = {"sequence": ("w", npy(walker(build)))}
    answer = client.post("/identify", files=body).json()
    return {"model": answer["model"]["model_id"], "subject": answer["candidates"][0]["subject"]}


def test_a_rebuild_over_http_is_watched_until_the_service_has_moved(
    with_models: Settings, folder: Path
) -> None:
    with calling(create_app(with_models)) as client:
        for subject, build in BUILDS.items():
            body = {"sequence": ("w", npy(walker(build)))}
            assert client.post("/enroll", data={"subject": subject}, files=body).is_success
        key = {"idempotency-key": "one rebuild"}
        asked = client.post("/rebuild", json={"model": "b.onnx"}, headers=key)
        assert asked.status_code == 202
        lost = client.post("/rebuild", json={"model": "b.onnx"}, headers=key)
        assert (lost.status_code, lost.json()) == (202, asked.json())
        assert lost.headers["location"] == asked.headers["location"]
        url = asked.headers["location"]
        assert asked.json()["model_id"] == id_of(folder / "b.onnx")
        wait_until(lambda: client.get(url).json()["state"] != "running")
        job = client.get(url).json()
        assert (job["state"], job["done"], job["total"]) == ("done", 3, 3)
        assert "3 samples embedded" in job["message"]
        wait_until(lambda: identify(client, 8)["model"] == id_of(folder / "b.onnx"))
        assert identify(client, BUILDS["ben"])["subject"] == "ben"
        assert [one["job_id"] for one in client.get("/jobs").json()["jobs"]] == [job["job_id"]]

        # Back again, by the id of a model that the gallery had.
        again = client.post("/rebuild", json={"model": id_of(folder / "a.onnx")})
        wait_until(lambda: client.get(again.headers["location"]).json()["state"] == "done")
        wait_until(lambda: identify(client, 8)["model"] == id_of(folder / "a.onnx"))


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("../models/b.onnx", 404, "unknown_model"),
        ("/etc/passwd", 404, "unknown_model"),
        ("notes.txt", 404, "unknown_model"),
        ("none.onnx", 404, "unknown_model"),
        ("a\0.onnx", 404, "unknown_model"),
        ("a" * 280 + ".onnx", 404, "unknown_model"),
        ("loop.onnx", 404, "unknown_model"),
        ("broken.onnx", 422, "unusable_model"),
    ],
)
def test_only_models_of_the_folder_are_taken(
    with_models: Settings, model: str, status: int, code: str
) -> None:
    (with_models.data).mkdir()
    outside = with_models.model_copy(update={"models": with_models.models})
    with calling(create_app(outside)) as client:
        refused = client.post("/rebuild", json={"model": model})
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert client.get("/jobs").json() == {"jobs": []}
        assert client.get("/jobs/x").status_code == client.delete("/jobs/x").status_code == 404


class SlowEncoder:
    """A tiny model that encodes one walk, and then waits to be let on."""

    def __init__(self, path: Path, wait: Callable[[], None]) -> None:
        self._encoder = OnnxEncoder.open(path, threads=1)
        self.facts = self._encoder.facts
        self.runtime = self._encoder.runtime
        self.encode = lambda walks: (wait(), self._encoder.encode(walks))[1]

    def close(self) -> None:
        self._encoder.close()


@pytest.fixture
def log(with_models: Settings) -> Iterator[JobLog]:
    encoder = OnnxEncoder.open(with_models.model)
    facts = encoder.facts
    gallery = Gallery.open(
        with_models.data, model_id=facts.model_id, embedding_length=facts.embedding_length
    )
    for number in range(20):  # two batches
        walk = walker(8 + number, height=60 + number)[:, 16:80, 14:58]
        gallery.enroll(f"s{number}", encoder.encode([walk])[0], silhouettes=walk)
    opened = gallery.jobs()
    gallery.close()
    yield opened
    opened.close()


def test_a_rebuild_is_cancelled_between_batches_and_a_later_one_goes_on(
    with_models: Settings, log: JobLog
) -> None:
    def cancel_first() -> None:
        if not cancelled:
            cancelled.append(jobs.cancel(jobs.latest()[0].job.job_id))

    cancelled: list[object] = []
    jobs = RebuildJobs(with_models, log, lambda path: SlowEncoder(path, cancel_first))
    job_id = jobs.start("b.onnx").job.job_id
    wait_until(lambda: jobs.get(job_id).job.state != "running")
    job = jobs.get(job_id).job
    assert (job.state, job.done, job.total) == ("cancelled", 16, 20)
    assert "goes on from there" in job.message
    assert jobs.cancel(job_id).job.state == "cancelled"
    again = jobs.start("b.onnx").job.job_id  # at once, because the one before is said to be over
    wait_until(lambda: jobs.get(again).job.state == "done")
    jobs.close()
    last = log.latest()[0]
    assert (last.state, last.message) == ("done", "generation 2 is live, 4 samples embedded")


def test_whoever_watches_a_rebuild_is_told_when_it_was_last_at_work(
    with_models: Settings, log: JobLog
) -> None:
    seen = []
    jobs = RebuildJobs(
        with_models, log, lambda path: SlowEncoder(path, lambda: seen.append(jobs.latest()[0].job))
    )
    job_id = jobs.start("b.onnx").job.job_id
    wait_until(lambda: jobs.get(job_id).job.state == "done")
    jobs.close()
    first, second = seen
    assert (first.done, second.done) == (0, 16)
    assert first.updated_at == first.created_at
    assert second.updated_at > second.created_at


class UnwillingLog(JobLog):
    """A log whose store does not answer when a rebuild ends, and later does."""

    refusals = 0

    def end(self, job_id: str, state: JobState, message: str) -> None:
        self.refusals += 1
        if self.refusals < 4:
            raise StoreUnavailable("gone for a moment")
        super().end(job_id, state, message)


def test_the_end_of_a_rebuild_is_noted_when_the_store_answers_again(
    with_models: Settings, log: JobLog
) -> None:
    with closing(Store.open(with_models.data)) as store:
        unwilling = UnwillingLog(store)
        jobs = RebuildJobs(with_models, unwilling, open_encoder, note_again_s=0.01)
        job_id = jobs.start("b.onnx").job.job_id
        wait_until(lambda: jobs.get(job_id).job.state == "done")
        wait_until(lambda: log.get(job_id).state != "running")
        jobs.close()
    job = log.get(job_id)
    assert (unwilling.refusals, job.state) == (4, "done")
    assert "20 samples embedded" in job.message


def test_a_rebuild_whose_end_nobody_notes_does_not_hold_up_the_end_of_the_service(
    with_models: Settings, log: JobLog
) -> None:
    with closing(Store.open(with_models.data)) as store:
        jobs = RebuildJobs(with_models, UnwillingLog(store), open_encoder, note_again_s=600)
        job_id = jobs.start("b.onnx").job.job_id
        wait_until(lambda: jobs.get(job_id).job.state == "done")
        jobs.close()
    assert log.get(job_id).state == "running", "the next start finds it"


def test_one_at_a_time_and_the_end_of_the_service_interrupts_it(
    with_models: Settings, log: JobLog
) -> None:
    def end_the_service() -> None:
        with pytest.raises(JobRunningError, match="one rebuild at a time"):
            jobs.start("b.onnx")
        running = jobs.latest()[0]
        assert (running.job.state, running.eta_s) == ("running", None)
        jobs._running.stopped_as = "interrupted"  # type: ignore[union-attr] # what close() does

    jobs = RebuildJobs(with_models, log, lambda path: SlowEncoder(path, end_the_service))
    job_id = jobs.start("b.onnx").job.job_id
    jobs.close()
    assert log.get(job_id).state == "interrupted"


def test_a_job_is_left_to_whoever_rebuilds(with_models: Settings, log: JobLog) -> None:
    left = log.add("tiny-b")
    jobs = RebuildJobs(with_models, log, open_encoder)
    store = Store.open(with_models.data)
    with store.database.alone("rebuild", store.gallery_id):
        jobs.resume()
        assert log.get(left.job_id).state == "running"
    store.close()
    jobs.resume()
    jobs.close()
    job = log.get(left.job_id)
    assert job.state == "failed", "nobody kept the file of that model"
    assert "expected the id of a model" in job.message
    jobs.resume()
    assert log.get(left.job_id) == job, "what ended is not taken up"


def test_a_job_that_gets_no_further_is_not_taken_up_at_every_start(log: JobLog) -> None:
    left = log.add("tiny-b")
    taken = log.take_up()
    assert taken is not None
    assert (taken.job_id, taken.state) == (left.job_id, "running")
    for _ in range(3):
        assert log.take_up() is None
        job = log.get(left.job_id)
        assert job.state == "interrupted"
        assert "ended twice at 0 of 0 samples; ask for the rebuild again" in job.message
    other = log.add("tiny-b")
    for done in (3, 5):
        assert log.take_up() is not None
        log.progress(other.job_id, done, 9)


def test_the_latest_job_is_the_one_added_last_whatever_the_clock_says(log: JobLog) -> None:
    first = log.add("tiny-b")
    log.end(first.job_id, "done", "")
    with log._store.database.writing() as connection:  # as if the clock had been set back since
        connection.execute(update(jobs_table).values(created_at="2999-01-01T00:00:00.000+00:00"))
    second = log.add("tiny-b")
    assert [job.job_id for job in log.latest()] == [second.job_id, first.job_id]
    taken = log.take_up()
    assert taken is not None
    assert taken.job_id == second.job_id


BEGIN_AND_WAIT = """
import sys, time
from pathlib import Path
from contextlib import closing
from gallery import JobLog
from gallery.store import Store
from service.jobs import RebuildJobs
from service.settings import Settings
from tests.test_jobs import SlowEncoder

def wait():
    print("encodes", flush=True)
    time.sleep(600)

settings = Settings(data=Path(sys.argv[1]), models=Path(sys.argv[2]))
log = JobLog(Store.open(settings.data))
jobs = RebuildJobs(settings, log, lambda path: SlowEncoder(path, wait))
print(jobs.start("b.onnx").job.job_id, flush=True)
time.sleep(600)
"""


def test_a_job_of_a_service_that_was_killed_goes_on_at_the_next_start(
    with_models: Settings, folder: Path, log: JobLog
) -> None:
    command = [sys.executable, "-c", BEGIN_AND_WAIT, str(with_models.data), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        said = {process.stdout.readline().strip() for _ in range(2)}
        (job_id,) = said - {"encodes"}
        process.kill()
    assert log.get(job_id).state == "running", "nobody could say otherwise"
    with calling(create_app(with_models)) as client:
        wait_until(lambda: client.get(f"/jobs/{job_id}").json()["state"] != "running")
        job = client.get(f"/jobs/{job_id}").json()
        assert (job["state"], job["done"], job["total"]) == ("done", 20, 20)
        wait_until(lambda: client.get("/info").json()["gallery"]["generation"] == 2)
        assert [one["job_id"] for one in client.get("/jobs").json()["jobs"]] == [job_id]


def test_a_rebuild_whose_switch_has_begun_is_not_said_to_be_cancelled(
    with_models: Settings,
) -> None:
    with calling(create_app(with_models)) as client, closing(Store.open(with_models.data)) as store:
        log = JobLog(store)
        job_id = log.add("tiny-b").job_id
        assert log.begin_switch(job_id)
        refused = client.delete(f"/jobs/{job_id}")
        assert (refused.status_code, refused.json()["code"]) == (409, "rebuild_refused")
        assert "being made live" in refused.json()["detail"]
        assert client.get(f"/jobs/{job_id}").json()["state"] == "running"


def test_a_model_is_named_by_its_file_only(with_models: Settings, log: JobLog) -> None:
    jobs = RebuildJobs(with_models, log, open_encoder)
    for name in ("..", "", "b", "/b.onnx"):
        with pytest.raises(UnknownModelError):
            jobs.start(name)
    with pytest.raises(UnusableModelError):
        jobs.start("broken.onnx")
