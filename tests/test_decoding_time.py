"""Nobody's slow walk keeps the threads that decode: it has its time, and videos have their own."""

import io
import threading
import time
from pathlib import Path

import pytest

from gallery import Gallery
from model.quality import Bounds
from service.alignment import aligned_walk
from service.app import create_app
from service.limits import Limits
from service.settings import Settings
from service.uploads import Upload
from tests.caller import calling
from tests.fakes import SIZE, FakeEncoder, npy, walker

FRAMES = 100
WALK = npy(walker(10, FRAMES))
LIMITS = Limits(upload_bytes=2_000_000, frames=200, frame_pixels=1_000_000, walk_pixels=10_000_000)
# The head is all that tells a video; this one waits in the queue and is never decoded.
VIDEO = b"\0\0\0\x18ftypisom" + bytes(1000)


class SlowFile(io.BytesIO):
    """A file each of whose reads takes a while."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        time.sleep(0.01)
        return super().read(size)


@pytest.mark.parametrize("left_s", [0.0, 0.2])
def test_a_walk_is_decoded_only_while_somebody_waits_for_it(left_s: float) -> None:
    file = SlowFile(WALK)
    ends_at = time.perf_counter() + left_s
    with pytest.raises(TimeoutError):
        aligned_walk(Upload(sequence=file), LIMITS, SIZE, Bounds(frames=13), ends_at=ends_at)
    assert file.reads < FRAMES


def test_slow_videos_hold_up_nothing_but_videos(
    tmp_path: Path, encoder: FakeEncoder, gallery: Gallery
) -> None:
    settings, free = Settings(data=tmp_path, queue_timeout_s=1), threading.Event()
    app = create_app(settings, encoder=encoder, gallery=gallery)
    with calling(app) as caller:
        for _ in range(settings.decode_threads):
            app.state.galleries.own.rooms.video_decoders.submit(free.wait, 60)
        try:
            waiting = caller.post("/identify", files={"sequence": ("walk", VIDEO)})
            assert (waiting.status_code, waiting.json()["code"]) == (503, "deadline_passed")
            assert int(waiting.headers["retry-after"]) >= 1
            walk = caller.post("/identify", files={"sequence": ("walk", WALK)})
            assert walk.status_code == 200, walk.text
        finally:
            free.set()
