"""Callers who hang up: their work is dropped, and the log has no error of ours for it."""

import gc
import logging
import socket

import pytest

from gallery import Gallery
from service.app import create_app
from service.settings import Settings
from tests.caller import listening
from tests.fakes import FakeEncoder, npy, walker
from tests.waiting import wait_until

WALK = npy(walker(10))
LONG = npy(walker(10, 75))


def request_of(path: str, *walks: bytes) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="sequence"; filename="w"\r\n\r\n'
    body = b"".join(part + walk + b"\r\n" for walk in walks) + b"--b--\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize(
    ("path", "walks"),
    [("/identify", [WALK]), ("/identify", [LONG]), ("/identify/batch", [WALK] * 6)],
    ids=["one walk", "windows", "a batch"],
)
def test_who_hangs_up_while_the_encoder_is_busy_leaves_no_trace(
    *,
    settings: Settings,
    gallery: Gallery,
    encoder: FakeEncoder,
    caplog: pytest.LogCaptureFixture,
    path: str,
    walks: list[bytes],
) -> None:
    narrow = settings.model_copy(update={"window_frames": 30})
    app = create_app(narrow, encoder=encoder, gallery=gallery)
    with caplog.at_level(logging.WARNING), listening(app) as port:
        encoder.free.clear()
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(request_of(path, *walks))
            assert encoder.entered.wait(20)
        rooms = app.state.galleries.own.rooms
        wait_until(lambda: rooms.admission.taken == 0)
        encoder.free.set()
        wait_until(lambda: rooms.batcher.waiting == 0)
    gc.collect()
    assert rooms.admission.held_bytes == rooms.admission.expected_wait_s == 0
    assert [one.getMessage() for one in caplog.records if one.name == "asyncio"] == []
    # What had not begun was dropped: of six walks in a batch, at most those that were laid ready.
    assert len(encoder.batches) <= 2
