"""A file system that is full: refused with 507, nothing half-written, well when there is room."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gallery import audit
from gallery.store import Store
from service.app import create_app
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, npy, walker
from tests.test_formats import video

_BLOCK = 4096


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        pytest.skip(f"NOT TESTED: a full file system, because none can be mounted here: {said}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def write_forever(file: int) -> None:
    while True:
        os.write(file, bytes(_BLOCK))


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave not one block free meanwhile."""
    ballast = folder / "ballast"
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        ballast.open("wb", buffering=0) as file,
    ):
        write_forever(file.fileno())
    try:
        yield
    finally:
        ballast.unlink()


def send(client: Caller, url: str, build: int, **fields: str) -> httpx.Response:
    return client.post(url, data=fields, files={"sequence": ("w", npy(walker(build)))})


def people(client: Caller) -> list[str]:
    return [one["subject"] for one in client.get("/subjects").json()["subjects"]]


def test_a_full_file_system_refuses_enrolments_and_nothing_else(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data=small / "data", max_upload_mb=2)
    with calling(create_app(settings, encoder=FakeEncoder())) as client:
        assert send(client, "/enroll", 8, subject="ann").status_code == 201
        with filled(small):
            # What is free inside the files is soon used up.
            answers = [send(client, "/enroll", 10 + n, subject=f"s{n}") for n in range(12)]
            refused = [one for one in answers if one.status_code != 201]
            assert refused, "the file system was full"
            for one in refused:
                assert (one.status_code, one.json()["code"]) == (507, "store_full"), one.text
            assert "store_full: expected room to write" in caplog.text
            there = ["ann", *(f"s{n}" for n, one in enumerate(answers) if one.status_code == 201)]
            assert people(client) == sorted(there)
            found = send(client, "/identify", 8)
            assert found.json()["candidates"][0]["subject"] == "ann"
            assert client.get("/info").json()["gallery"]["samples"] == len(there)
        assert send(client, "/enroll", 30, subject="zoe").status_code == 201
        assert send(client, "/identify", 30).json()["candidates"][0]["subject"] == "zoe"
        assert people(client) == sorted([*there, "zoe"])
    # A start finds the same, and a log that is whole.
    with calling(create_app(settings, encoder=FakeEncoder())) as client:
        assert client.get("/info").json()["gallery"]["samples"] == len(there) + 1
    with closing(Store.open(settings.data)) as store, store.database.reading() as connection:
        audit.verify(connection, "main")


LARGE = npy(walker(10, 190))
"""More than a body may have in memory."""


@pytest.mark.parametrize(
    "body",
    [
        {"files": {"sequence": ("w", LARGE)}},
        {"content": LARGE, "headers": {"content-type": "application/octet-stream"}},
        {"files": {"sequence": ("w", video(walker(10)))}},
    ],
    ids=["form", "bare", "video"],
)
def test_bodies_that_find_no_room_are_refused_until_there_is(
    small: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    body: dict[str, Any],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    app = create_app(settings, encoder=FakeEncoder())
    with calling(app) as client:
        with filled(small):
            refused = client.post("/identify", **body)
            assert (refused.status_code, refused.json()["code"]) == (503, "busy"), refused.text
            assert refused.headers["retry-after"] == "1"
            assert f"expected room for a request body in {small}" in caplog.text
            assert app.state.galleries.own.rooms.admission.taken == 0
            assert send(client, "/identify", 8).status_code == 200, "small ones need no room there"
        assert client.post("/identify", **body).status_code == 200
    assert list(small.iterdir()) == []
