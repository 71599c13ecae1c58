"""Admission: a place before the first byte, a budget of bytes, and nothing that leaks."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gallery import Gallery
from service.admission import Admission
from service.app import create_app
from service.batcher import BatchReport
from service.errors import BusyError, SettingsError
from service.settings import Settings, load_settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, npy, walker

MIB = 1024 * 1024


def sequence(data: bytes) -> dict[str, Any]:
    return {"sequence": ("walk", data)}


def test_no_more_walks_than_places() -> None:
    admission = Admission(walks=2, body_bytes=10)
    with admission.place(), admission.place():
        with pytest.raises(BusyError, match="2 walks are in work"), admission.place():
            pass
        assert admission.taken == 2
    assert admission.taken == 0


def encoded(admission: Admission, *untils: float, since: float = 0.0, walks: int = 1) -> None:
    """Let encoder calls end at some moments, whose walks were there at another one."""
    for until in untils:
        report = BatchReport((30,) * walks, (0.0,) * walks, 0.1, since=since, until=until)
        admission.encoded(report)


def test_a_walk_that_would_wait_too_long_is_refused_at_the_door() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    encoded(admission, 6.0, walks=2)  # 3 seconds a walk
    with admission.place():
        assert admission.expected_wait_s == pytest.approx(3)
        with admission.place():
            # A fifth of the 5 seconds is kept for a pace that changes.
            with pytest.raises(BusyError, match=r"at most 4 seconds, .* 6\.0 sec") as refused:
                admission.place().__enter__()
            assert refused.value.retry_after_s == 2
    assert admission.taken == 0


def test_the_pace_is_that_of_the_whole_service_and_not_of_the_encoder() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    # Six walks were there at once; each was done half a second after the one before.
    encoded(admission, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    with admission.place():
        assert admission.expected_wait_s == pytest.approx(0.5)
    # One that comes an hour later to an idle service did not take that hour.
    encoded(admission, 3600.5, since=3600.0)
    with admission.place():
        assert admission.expected_wait_s == pytest.approx(0.5)


def test_a_pace_that_changes_is_followed() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    encoded(admission, *(0.1 * number for number in range(1, 20)))
    encoded(admission, *(1.9 + 2.0 * number for number in range(1, 20)))
    with admission.place():
        assert admission.expected_wait_s == pytest.approx(2.0)


def test_walks_of_different_length_count_with_their_mean() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    moment = 0.0
    for number in range(17):
        moment += 0.1 if number % 2 else 1.0
        encoded(admission, moment)
    with admission.place():
        # 8 × 0.1 s and 9 × 1 s, of which one counts as the slowest; the median would say 1 s.
        assert admission.expected_wait_s == pytest.approx(8.8 / 16)


def test_a_place_with_several_walks_counts_as_so_many() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    encoded(admission, 0.5)
    with admission.place(), admission.several(4):
        assert admission.expected_wait_s == pytest.approx(2.0)
        assert admission.taken == 1
    assert admission.expected_wait_s == 0


def test_one_slow_call_refuses_nobody() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    encoded(admission, 0.1, 60.1, 60.2)
    with admission.place(), admission.place():
        assert admission.expected_wait_s == pytest.approx(0.2)


def test_an_idle_service_takes_a_walk_however_slow_it_is() -> None:
    admission = Admission(walks=1, body_bytes=10, wait_s=5)
    encoded(admission, 60.0)
    with admission.place():
        with pytest.raises(BusyError, match="1 walks are in work") as refused:
            admission.place().__enter__()
        assert refused.value.retry_after_s == 60


def test_whoever_is_let_in_at_a_steady_pace_is_begun_in_time() -> None:
    """A queue in model time: two walks come for each that is done, and none passes its deadline."""
    admission = Admission(walks=1000, body_bytes=10, wait_s=2)
    waiting: list[tuple[float, Any]] = []
    waits, refused = [], 0
    for tick in range(2000):
        now = 0.05 * tick
        try:
            place = admission.place()
            place.__enter__()
            waiting.append((now, place))
        except BusyError:
            refused += 1
        if tick % 2 and waiting:
            arrived, done = waiting.pop(0)
            # The encoder began with it one pace ago.
            waits.append(now - 0.1 - arrived)
            encoded(admission, now, since=arrived)
            done.__exit__(None, None, None)
    assert refused > 900
    assert 1.5 < max(waits) <= 1.7


def test_no_more_bytes_than_the_budget() -> None:
    admission = Admission(walks=9, body_bytes=10)
    encoded(admission, 2.5)
    with admission.place() as first, admission.place() as second:
        first.hold(6)
        first.hold(4)  # what is held already covers it
        with pytest.raises(BusyError, match="6 bytes are in work already, of at most 10") as busy:
            second.hold(5)
        assert busy.value.retry_after_s == 3
        second.hold(4)
        assert admission.held_bytes == 10
    assert admission.held_bytes == 0


def test_a_place_is_given_back_after_an_error() -> None:
    admission = Admission(walks=1, body_bytes=10)
    with pytest.raises(BusyError), admission.place() as place:
        place.hold(11)
    assert (admission.taken, admission.held_bytes) == (0, 0)


def test_the_budget_must_hold_one_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGAIT_MAX_UPLOAD_MB", "300")
    with pytest.raises(SettingsError, match=r"METAGAIT_UPLOAD_BUDGET_MB: .*MAX_UPLOAD_MB, 300"):
        load_settings()


@pytest.fixture
def narrow(tmp_path: Path, encoder: FakeEncoder, gallery: Gallery) -> Iterator[Caller]:
    """A service whose budget is the size of one body."""
    settings = Settings(data=tmp_path, max_upload_mb=1, upload_budget_mb=1)
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        yield caller


def chunked(started: threading.Event, go_on: threading.Event, count: int) -> Any:
    """A form of `count` bytes without a declared length, which stops half-way until `go_on`."""

    async def body() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="sequence"; filename="w"\r\n\r\n'
        yield b"0" * (count // 2)
        started.set()
        await asyncio.to_thread(go_on.wait, 20)
        yield b"0" * (count // 2)
        yield b"\r\n--x--\r\n"

    return body()


def test_bodies_on_their_way_count_with_or_without_a_length(narrow: Caller) -> None:
    started, go_on = threading.Event(), threading.Event()
    answers: list[httpx.Response] = []

    def upload() -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        body = chunked(started, go_on, MIB // 2)
        answers.append(narrow.post("/identify", content=body, headers=headers))

    thread = threading.Thread(target=upload)
    thread.start()
    assert started.wait(20)
    refused = narrow.post("/identify", files=sequence(b"0" * (900 * 1024)))
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert refused.headers["Retry-After"] == "1"
    fits = narrow.post("/identify", files=sequence(npy(walker(10))))
    assert fits.status_code == 200
    go_on.set()
    thread.join()
    assert answers[0].json()["code"] == "unsupported_format"
    again = narrow.post("/identify", files=sequence(b"0" * (900 * 1024)))
    assert again.json()["code"] == "unsupported_format"


def test_a_saturated_service_refuses_without_reading_the_body(
    tmp_path: Path, encoder: FakeEncoder, gallery: Gallery
) -> None:
    settings = Settings(data=tmp_path, queue_walks=1)
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b"0" * 1024

    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        encoder.free.clear()
        body = sequence(npy(walker(10)))
        thread = threading.Thread(target=lambda: caller.post("/identify", files=body))
        thread.start()
        assert encoder.entered.wait(20)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        refused = caller.post("/identify", content=endless(), headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert read == 0
        assert caller.get("/readyz").status_code == 200
        encoder.free.set()
        thread.join()


@pytest.mark.parametrize(
    ("url", "frames", "walks"),
    [
        ("/identify", [20], 1),
        ("/identify/batch", [20, 20, 20, 20], 4),
        ("/identify", [75], 4),
    ],
    ids=["one walk", "a batch", "a walk in windows"],
)
def test_what_waits_for_the_encoder_is_counted_walk_by_walk(
    url: str, frames: list[int], walks: int, tmp_path: Path, encoder: FakeEncoder
) -> None:
    app = create_app(Settings(data=tmp_path, window_frames=30), encoder=encoder)
    with calling(app) as caller:
        admission: Admission = app.state.galleries.own.rooms.admission
        encoded(admission, 1.0)
        encoder.free.clear()
        files = [("sequence", ("walk", npy(walker(10, count)))) for count in frames]
        thread = threading.Thread(target=lambda: caller.post(url, files=files))
        thread.start()
        assert encoder.entered.wait(20)
        assert admission.expected_wait_s == walks
        encoder.free.set()
        thread.join()
        assert admission.expected_wait_s == 0


def test_a_walk_that_waits_too_long_is_told_when_to_come_back(
    tmp_path: Path, encoder: FakeEncoder, gallery: Gallery
) -> None:
    settings = Settings(data=tmp_path, queue_timeout_s=0.3)
    body = sequence(npy(walker(10)))
    app = create_app(settings, encoder=encoder, gallery=gallery)
    with calling(app) as caller:
        admission: Admission = app.state.galleries.own.rooms.admission
        encoder.free.clear()
        thread = threading.Thread(target=lambda: caller.post("/identify", files=body))
        thread.start()
        assert encoder.entered.wait(20)

        async def slower() -> Any:
            # It is let in by a pace of which nothing is known, and then the pace is known.
            encoded(admission, 4.2)
            yield npy(walker(10))

        headers = {"Content-Type": "application/octet-stream"}
        late = caller.post("/identify", content=slower(), headers=headers)
        assert (late.status_code, late.json()["code"]) == (503, "deadline_passed")
        # Two walks were in work, itself among them.
        assert late.headers["Retry-After"] == "9"
        encoder.free.set()
        thread.join()
