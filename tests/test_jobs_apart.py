"""Jobs and whoever else is at the same gallery: other replicas, commands, a restored store."""

from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gallery import JobLog, RebuildRefused, next_generation
from gallery.backup import back_up, restore
from gallery.database import Database
from gallery.jobs import Job
from gallery.rebuild import rebuild
from gallery.store import Store
from service.jobs import RebuildJobs
from service.settings import Settings
from tests.rebuilding import OLD, FakeEncoder, enroll, open_gallery, opened_store
from tests.waiting import wait_until

FILE = b"a model"
NEW = f"model-{sha256(FILE).hexdigest()[:12]}"


class NewEncoder(FakeEncoder):
    """The model of the job, which tells somebody of each walk that it gets."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        super().__init__(NEW, 6, -3.0, lambda _walks: during())

    def close(self) -> None:
        pass


@pytest.fixture
def store(location: str | Path) -> Iterator[Store]:
    with opened_store(location) as opened:
        yield opened


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., RebuildJobs]]:
    """Makes the jobs of a replica, which all find the file of the model."""
    settings = Settings(data=tmp_path / "data", models=tmp_path / "models")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "new.onnx").write_bytes(FILE)
    kept = tmp_path / "data" / "models"
    kept.mkdir(parents=True)
    (kept / f"{NEW}.onnx").write_bytes(FILE)
    all_: list[RebuildJobs] = []

    def make(log: JobLog, during: Callable[[], None] = lambda: None) -> RebuildJobs:
        all_.append(RebuildJobs(settings, log, lambda _path: NewEncoder(during)))
        return all_[-1]

    yield make
    for one in all_:
        one.close()


def ended(log: JobLog, jobs: RebuildJobs, job_id: str) -> Job:
    wait_until(lambda: jobs.get(job_id).job.state != "running")
    jobs.close()
    return log.get(job_id)


def live(store: Store) -> str:
    return store.head().model.model_id


def roll_back(store: Store) -> None:
    next_generation.roll_back(store)


def rebuild_otherwise(store: Store) -> None:
    rebuild(store, FakeEncoder("model-third", 5, 2.0))


def there_and_back(store: Store) -> None:
    rebuild_otherwise(store)
    roll_back(store)


def drop_old(store: Store) -> None:
    next_generation.drop_others(store)


@pytest.mark.parametrize("settle", [roll_back, rebuild_otherwise, there_and_back, drop_old])
def test_a_job_is_not_gone_on_with_after_a_command_that_settled_what_answers(
    store: Store, made: Callable[..., RebuildJobs], settle: Callable[[Store], None]
) -> None:
    rebuild(store, FakeEncoder("model-second", 5, 2.5))
    log = JobLog(store)
    left = log.add(NEW)
    settle(store)
    before = live(store)
    jobs = made(log)
    jobs.resume()
    jobs.close()
    job = log.get(left.job_id)
    assert (job.state, live(store)) == ("interrupted", before)
    assert "rolled back" in job.message
    assert "ask for the rebuild again" in job.message
    jobs.resume()
    jobs.close()
    assert log.get(left.job_id) == job


def test_a_job_goes_on_when_people_were_enrolled_meanwhile(
    store: Store, location: str | Path, made: Callable[..., RebuildJobs]
) -> None:
    log = JobLog(store)
    left = log.add(NEW)
    with closing(open_gallery(location, OLD)) as gallery:
        enroll(gallery, OLD, 100)
    jobs = made(log)
    jobs.resume()
    job = ended(log, jobs, left.job_id)
    assert (job.state, live(store)) == ("done", NEW)
    assert "24 samples embedded" in job.message


def test_a_job_whose_own_switch_was_not_noted_ends_as_done(
    store: Store, made: Callable[..., RebuildJobs]
) -> None:
    log = JobLog(store)
    left = log.add(NEW)
    assert log.begin_switch(left.job_id)
    rebuild(store, NewEncoder())
    jobs = made(log)
    jobs.resume()
    job = ended(log, jobs, left.job_id)
    assert (job.state, job.message) == ("done", "nothing to do: that model is live already")


@pytest.mark.parametrize("takes_over", [False, True])
def test_a_restored_store_does_not_go_on_with_a_job(
    store: Store, tmp_path: Path, made: Callable[..., RebuildJobs], takes_over: bool
) -> None:
    left = JobLog(store).add(NEW)
    back_up(store.database, tmp_path / "backup.tar.gz")
    with closing(Database(tmp_path / "other")) as empty:
        restore(tmp_path / "backup.tar.gz", empty, takes_over=takes_over)
    with closing(Store.open(tmp_path / "other")) as other:
        log = JobLog(other)
        jobs = made(log)
        jobs.resume()
        jobs.close()
        job = log.get(left.job_id)
        assert (job.state, live(other)) == ("interrupted", OLD.facts.model_id)
        assert "restored from a backup" in job.message


class LateLog(JobLog):
    """A log that lets something happen when all is embedded, and when the switch begins."""

    at_total: Callable[[str], object] = staticmethod(lambda _job_id: None)
    at_switch: Callable[[str], object] = staticmethod(lambda _job_id: None)

    def progress(self, job_id: str, done: int, total: int) -> bool:
        if done == total:
            self.at_total(job_id)
        return super().progress(job_id, done, total)

    def begin_switch(self, job_id: str) -> bool:
        begun = super().begin_switch(job_id)
        self.at_switch(job_id)
        return begun


def test_a_rebuild_that_is_cancelled_when_all_is_embedded_does_not_switch(
    store: Store, made: Callable[..., RebuildJobs]
) -> None:
    log = LateLog(store)
    jobs = made(log)
    log.at_total = jobs.cancel
    job = ended(log, jobs, jobs.start("new.onnx").job.job_id)
    assert (job.state, job.done, job.total) == ("cancelled", 23, 23)
    assert live(store) == OLD.facts.model_id


def test_a_rebuild_is_cancelled_until_its_switch_begins_and_not_after(
    store: Store, made: Callable[..., RebuildJobs]
) -> None:
    def cancel_late(job_id: str) -> None:
        with pytest.raises(RebuildRefused, match="being made live") as caught:
            jobs.cancel(job_id)
        refused.append(caught.value)

    log, refused = LateLog(store), list[RebuildRefused]()
    jobs = made(log)
    log.at_switch = cancel_late
    job = ended(log, jobs, jobs.start("new.onnx").job.job_id)
    assert (len(refused), job.state, live(store)) == (1, "done", NEW)
    assert jobs.cancel(job.job_id).job == job


@pytest.mark.parametrize("batch", [1, 2])
def test_a_rebuild_is_cancelled_through_another_replica(
    store: Store, made: Callable[..., RebuildJobs], batch: int
) -> None:
    def cancel() -> None:
        calls.append("encode")
        if len(calls) == batch:
            other.cancel(JobLog(store).latest()[0].job_id)

    calls: list[str] = []
    log, other = JobLog(store), made(JobLog(store))
    jobs = made(log, during=cancel)
    job = ended(log, jobs, jobs.start("new.onnx").job.job_id)
    assert (job.state, live(store)) == ("cancelled", OLD.facts.model_id)


def test_a_job_that_was_cancelled_is_not_taken_up(store: Store) -> None:
    log = JobLog(store)
    for state in ("running", "interrupted"):
        job_id = log.add(NEW).job_id
        if state == "interrupted":
            log.end(job_id, "interrupted", "stopped")
        log.cancel(job_id)
        log.end(job_id, "interrupted", "stopped")
        assert log.take_up() is None
        assert log.get(job_id).state == "cancelled"


def test_nobody_takes_up_a_job_that_another_replica_just_adds(
    store: Store, made: Callable[..., RebuildJobs]
) -> None:
    class SharedLog(JobLog):
        def add(self, model_id: str) -> Job:
            job = super().add(model_id)
            other.resume()
            other.close()
            return job

    log, other = SharedLog(store), made(JobLog(store))
    jobs = made(log)
    job = ended(log, jobs, jobs.start("new.onnx").job.job_id)
    assert (job.state, job.message) == ("done", "generation 2 is live, 23 samples embedded")


def test_of_two_replicas_that_start_together_one_takes_up_the_job(
    store: Store, made: Callable[..., RebuildJobs]
) -> None:
    class SharedLog(JobLog):
        def take_up(self) -> Job | None:
            job = super().take_up()
            other.resume()
            told.append(self.get(left.job_id))
            return job

    told: list[Any] = []
    log, other = SharedLog(store), made(JobLog(store))
    left = log.add(NEW)
    jobs = made(log)
    jobs.resume()
    assert "goes on from there" in told[0].message
    assert ended(log, jobs, left.job_id).state == "done"


def test_a_rebuild_is_refused_while_another_process_rebuilds(
    store: Store, made: Callable[..., RebuildJobs]
) -> None:
    log = JobLog(store)
    with log.alone(), pytest.raises(RebuildRefused, match="one rebuild of a gallery at a time"):
        made(log).start("new.onnx")
    assert log.latest() == ()
