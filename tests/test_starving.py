"""Work that takes long in one corner does not hold up what is asked for elsewhere."""

import asyncio
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gallery import Gallery, JobLog
from gallery.store import Store
from model.encoder import Encoder, open_encoder
from service.app import create_app
from service.errors import JobRunningError
from service.jobs import RebuildJobs
from service.rooms import Rooms
from service.settings import Settings
from service.uploads import Upload
from tests.caller import calling
from tests.fakes import FakeEncoder, npy, walker
from tests.tiny_models import tiny_model
from tests.waiting import wait_until

ASKED_AT_ONCE = 5
"""More than a service has threads for its gallery."""


class SlowGallery(Gallery):
    """A gallery whose calibration takes as long as it is not let go."""

    begun = asked = 0

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.free = threading.Event()

    def erasures(self) -> int:
        self.asked += 1  # asked right before the calibration, because of the Idempotency-Key
        return super().erasures()

    def calibrate(self, target_fpir: float, *, actor: str = "") -> Any:
        self.begun += 1
        assert self.free.wait(60)
        return super().calibrate(target_fpir, actor=actor)


@pytest.fixture
def slow(settings: Settings, encoder: FakeEncoder) -> Iterator[SlowGallery]:
    facts = encoder.facts
    with closing(
        SlowGallery.open(
            settings.data, model_id=facts.model_id, embedding_length=facts.embedding_length
        )
    ) as opened:
        yield opened


def test_calibrations_leave_threads_to_whoever_asks_something_else(
    settings: Settings, encoder: FakeEncoder, slow: SlowGallery
) -> None:
    app = create_app(settings, encoder=encoder, gallery=slow)
    with calling(app) as client, ThreadPoolExecutor(ASKED_AT_ONCE + 1) as pool:
        try:
            asked = [
                pool.submit(
                    client.post, "/calibrate", json={}, headers={"Idempotency-Key": str(number)}
                )
                for number in range(ASKED_AT_ONCE)
            ]
            wait_until(lambda: slow.asked == ASKED_AT_ONCE and slow.begun > 0)
            assert pool.submit(client.get, "/readyz").result(timeout=20).status_code == 200
        finally:
            slow.free.set()
        codes = {one.result(timeout=20).json()["code"] for one in asked}
        assert codes == {"calibration_refused"}


def test_keys_are_read_while_all_other_threads_are_busy(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    free = threading.Event()

    async def occupy_default_threads() -> None:
        threads = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(threads)
        threads.submit(free.wait, 60)

    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as client:
        client._portal.call(occupy_default_threads)
        try:
            assert client.get("/info").status_code == 200
        finally:
            free.set()


class GatedFile(io.BytesIO):
    """A file whose third frame is there when it is let go."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.frames = 0
        self.entered, self.free = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.frames += len(data) == 96 * 72
        if self.frames == 3:
            self.entered.set()
            assert self.free.wait(20)
        return data


def test_a_walk_whose_caller_has_left_is_decoded_no_further(
    settings: Settings, encoder: FakeEncoder
) -> None:
    file, threads = GatedFile(npy(walker(8, 200))), ThreadPoolExecutor(1)
    rooms = SimpleNamespace(
        settings=settings,
        limits=settings.limits(300),
        encoder=encoder,
        decoders=threads,
        admission=SimpleNamespace(retry_after_s=1),
    )

    async def story() -> None:
        caller = asyncio.create_task(Rooms.align(cast(Any, rooms), Upload(sequence=file)))
        assert await asyncio.to_thread(file.entered.wait, 20)
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
        file.free.set()
        threads.shutdown()

    asyncio.run(story())
    assert file.frames == 3


def test_a_rebuild_is_refused_at_once_while_the_model_of_another_is_being_opened(
    settings: Settings, tmp_path: Path
) -> None:
    tiny_model(tmp_path / "a.onnx", "tiny-a", dimensions=11)
    opening, free = threading.Event(), threading.Event()

    def open_slowly(path: Path) -> Encoder:
        opening.set()
        assert free.wait(60)
        return open_encoder(path)

    with closing(Store.open(settings.data)) as store, ThreadPoolExecutor(2) as pool:
        with_models = settings.model_copy(update={"models": tmp_path})
        jobs = RebuildJobs(with_models, JobLog(store), open_slowly)
        try:
            first = pool.submit(jobs.start, "a.onnx")
            assert opening.wait(20)
            with pytest.raises(JobRunningError):
                pool.submit(jobs.start, "a.onnx").result(timeout=20)
        finally:
            free.set()
        first.result(timeout=20)
        jobs.close()
