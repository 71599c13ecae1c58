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


def encoded(admission: Admission, seconds: float, walks: int = 1, calls: int = 1) -> None:
    admission.encoded(BatchReport((30,) * walks, (0.0,) * walks, seconds, calls))


def test_a_walk_that_would_wait_too_long_is_refused_at_the_door() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    encoded(admission, 24.0, walks=4, calls=2)  # 3 seconds a walk
    with admission.place():
        assert admission.expected_wait_s == pytest.approx(3)
        with admission.place():
            with pytest.raises(
                BusyError, match=r"2 walks are in work already, .* 6 sec"
            ) as refused:
                admission.place().__enter__()
            assert refused.value.retry_after_s == 1
    encoded(admission, 100.0)
    encoded(admission, 100.0)
    with admission.place():
        with pytest.raises(BusyError) as refused:
            admission.place().__enter__()
        assert refused.value.retry_after_s == 95
    assert admission.taken == 0


def test_one_slow_call_refuses_nobody() -> None:
    admission = Admission(walks=9, body_bytes=10, wait_s=5)
    for seconds in (0.1, 60.0, 0.1):
        encoded(admission, seconds)
    with admission.place(), admission.place():
        assert admission.expected_wait_s == pytest.approx(0.2)


def test_an_idle_service_takes_a_walk_however_slow_it_is() -> None:
    admission = Admission(walks=1, body_bytes=10, wait_s=5)
    encoded(admission, 60.0)
    with admission.place():
        with pytest.raises(BusyError, match="1 walks are in work") as refused:
            admission.place().__enter__()
        assert refused.value.retry_after_s == 60


def test_no_more_bytes_than_the_budget() -> None:
    admission = Admission(walks=9, body_bytes=10)
    with admission.place() as first, admission.place() as second:
        first.hold(6)
        first.hold(4)  # what is held already covers it
        with pytest.raises(BusyError, match="6 bytes are in work already, of at most 10"):
            second.hold(5)
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


def test_a_walk_that_waits_too_long_is_told_when_to_come_back(
    tmp_path: Path, encoder: FakeEncoder, gallery: Gallery
) -> None:
    settings = Settings(data=tmp_path, queue_timeout_s=0.3)
    body = sequence(npy(walker(10)))
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        encoder.free.clear()
        thread = threading.Thread(target=lambda: caller.post("/identify", files=body))
        thread.start()
        assert encoder.entered.wait(20)
        late = caller.post("/identify", files=body)
        assert (late.status_code, late.json()["code"]) == (503, "deadline_passed")
        assert late.headers["Retry-After"] == "1"
        encoder.free.set()
        thread.join()
