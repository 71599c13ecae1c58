"""Several galleries on one store: over HTTP, by command, and what one never learns of another."""

import argparse
import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from gallery import (
    Galleries,
    Gallery,
    GalleryNotEmpty,
    GalleryNotFound,
    InvalidGalleryName,
    InvalidSetting,
    StoreUnavailable,
    audit,
)
from gallery.commands import settings as gallery_command
from gallery.database import Database
from gallery.master_keys import write_master_key
from gallery.settings import change_settings
from gallery.store import Store
from model.encoder import OnnxEncoder
from service.app import create_app
from service.client import Client
from service.galleries import Galleries as ServedGalleries
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import npy, walker
from tests.galleries import embedding, open_gallery
from tests.tiny_models import tiny_model


def send(client: Caller, url: str, build: int, **fields: str) -> httpx.Response:
    return client.post(url, data=fields, files={"sequence": ("w", npy(walker(build)))})


def named(client: Caller, build: int, gallery: str) -> list[str]:
    answer = send(client, f"/identify?gallery={gallery}", build)
    assert answer.status_code == 200, answer.text
    assert answer.json()["gallery"]["name"] == gallery
    return [one["subject"] for one in answer.json()["candidates"]]


def names(client: Caller) -> list[str]:
    return [one["name"] for one in client.get("/galleries").json()["galleries"]]


def test_two_galleries_know_nothing_of_each_other(client: Caller) -> None:
    assert client.put("/galleries/lab").status_code == 201
    assert client.put("/galleries/lab").status_code == 200
    assert send(client, "/enroll", 14, subject="ada").status_code == 201
    enrolled = send(client, "/enroll?gallery=lab", 14, subject="ben")
    assert (enrolled.status_code, enrolled.json()["gallery"]["name"]) == (201, "lab")
    assert named(client, 14, "main") == ["ada"]
    assert named(client, 14, "lab") == ["ben"]
    assert send(client, "/verify?gallery=lab", 14, subject="ada").status_code == 404
    assert client.get("/subjects/ben").status_code == 404
    assert client.get("/subjects/ben", params={"gallery": "lab"}).status_code == 200
    sample = enrolled.json()["sample_id"]
    assert client.get(f"/samples/{sample}/walk").status_code == 404
    assert client.delete(f"/samples/{sample}").status_code == 404
    assert client.get("/info?gallery=lab").json()["gallery"]["samples"] == 1
    listed = client.get("/galleries").json()
    assert listed["own"] == "main"
    assert listed["galleries"] == [
        {"name": "lab", "subjects": 1, "samples": 1},
        {"name": "main", "subjects": 1, "samples": 1},
    ]
    erased = client.delete("/subjects/ben?gallery=lab").json()
    assert erased["receipt"]["gallery"] == "lab"
    assert named(client, 14, "main") == ["ada"]


def test_each_gallery_has_its_own_settings(client: Caller) -> None:
    client.put("/galleries/lab")
    changes = {"conflict": "refuse", "retention": "embeddings-only", "index_kind": "compact"}
    changed = client.patch("/galleries/lab", json=changes).json()
    assert {name: changed["settings"][name] for name in changes} == changes
    assert client.get("/galleries/main").json()["settings"]["conflict"] == "report"
    enrolled = send(client, "/enroll?gallery=lab", 14, subject="ada").json()
    walk = client.get(f"/samples/{enrolled['sample_id']}/walk?gallery=lab")
    assert (walk.status_code, walk.json()["code"]) == (404, "silhouettes_not_kept")
    send(client, "/enroll?gallery=lab", 25, subject="ben")
    refused = send(client, "/enroll?gallery=lab", 15, subject="ben")
    assert (refused.status_code, refused.json()["code"]) == (409, "enrolment_conflict")
    assert client.post("/calibrate?gallery=lab", json={}).status_code == 409


def test_the_same_idempotency_key_in_two_galleries_is_two_requests(client: Caller) -> None:
    client.put("/galleries/lab")
    for gallery in ("main", "lab"):
        answer = client.post(
            f"/enroll?gallery={gallery}",
            data={"subject": "ada"},
            files={"sequence": ("w", npy(walker(14)))},
            headers={"Idempotency-Key": "one"},
        )
        assert answer.json()["gallery"]["name"] == gallery


def test_a_gallery_is_deleted_when_nobody_is_in_it_and_its_receipts_stay(
    client: Caller, settings: Settings
) -> None:
    client.put("/galleries/lab")
    send(client, "/enroll?gallery=lab", 14, subject="ada")
    refused = client.delete("/galleries/lab")
    assert (refused.status_code, refused.json()["code"]) == (409, "gallery_not_empty")
    receipt = client.delete("/subjects/ada?gallery=lab").json()["receipt"]["receipt_id"]
    assert client.delete("/galleries/lab").json()["own"] == "main"
    assert names(client) == ["main"]
    for gone in (
        client.delete("/galleries/lab"),
        client.get("/galleries/lab"),
        client.get("/subjects?gallery=lab"),
        send(client, "/identify?gallery=lab", 14),
    ):
        assert (gone.status_code, gone.json()["code"]) == (404, "gallery_not_found")
    assert client.put("/galleries/lab").status_code == 201
    assert named(client, 14, "lab") == []
    assert client.get(f"/receipts/{receipt}?gallery=lab").status_code == 200
    with closing(Store.open(settings.data)) as store, store.database.reading() as connection:
        audit.verify(connection, "lab")
        rows = [(row["action"], row["outcome"]) for row in audit.export(connection, "lab")]
    changes = [row for row in rows if row[0] != "identify"]
    assert changes == [
        ("gallery", "made"),
        ("enrol", "enrolled"),
        ("erase", "erased"),
        ("gallery", "deleted"),
        ("gallery", "made"),
    ]


def test_the_services_own_gallery_stays_and_names_are_checked(client: Caller) -> None:
    own = client.delete("/galleries/main")
    assert (own.status_code, own.json()["code"]) == (409, "own_gallery")
    for name in ("-x", "a b", "x" * 65, "é"):
        assert client.put(f"/galleries/{name}").status_code == 422
    assert names(client) == ["main"]


def test_a_gallery_that_another_process_deletes_answers_no_more(
    client: Caller, settings: Settings
) -> None:
    client.put("/galleries/lab")
    assert named(client, 14, "lab") == []
    with closing(Galleries.open(settings.data)) as other:
        other.delete("lab")
        assert send(client, "/enroll?gallery=lab", 14, subject="a").status_code == 404
        assert client.get("/info?gallery=lab").status_code == 404
        other.make("lab")
    assert send(client, "/enroll?gallery=lab", 14, subject="a").status_code == 201


def test_each_gallery_moves_to_a_model_of_its_own(tmp_path: Path) -> None:
    first = tiny_model(tmp_path / "a.onnx", "tiny-a", dimensions=11)
    folder = tmp_path / "models"
    folder.mkdir()
    second = tiny_model(folder / "b.onnx", "tiny-b", dimensions=4, factor=-3.0)
    settings = Settings(data=tmp_path / "data", model=first, models=folder, max_upload_mb=2)
    a, b = (OnnxEncoder.open(path).facts.model_id for path in (first, second))
    with calling(create_app(settings)) as client:
        client.put("/galleries/lab")
        for gallery in ("main", "lab"):
            send(client, f"/enroll?gallery={gallery}", 14, subject="ada")
        job = client.post("/rebuild?gallery=lab", json={"model": "b.onnx"})
        assert job.status_code == 202, job.text
        assert client.get(f"/jobs/{job.json()['job_id']}").status_code == 404
        wait_for(client, job.headers["location"])
        deadline = time.monotonic() + 60
        while model_of(client, "lab") != b:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert model_of(client, "main") == a
    # A restart finds both where they were.
    with calling(create_app(settings)) as client:
        assert (model_of(client, "main"), model_of(client, "lab")) == (a, b)
        assert named(client, 14, "lab") == ["ada"]


def wait_for(client: Caller, url: str) -> None:
    deadline = time.monotonic() + 60
    while (job := client.get(url).json())["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job["state"] == "done", job


def model_of(client: Caller, gallery: str) -> str:
    answer = send(client, f"/identify?gallery={gallery}", 14)
    assert answer.status_code == 200, answer.text
    assert answer.json()["candidates"][0]["distance"] == pytest.approx(0, abs=1e-3)
    model_id: str = answer.json()["model"]["model_id"]
    return model_id


def test_galleries_by_themselves_on_each_database(location: Any) -> None:
    with closing(Galleries.open(location)) as galleries:
        assert galleries.make("lab")
        assert not galleries.make("lab")
        with pytest.raises(InvalidGalleryName, match="expected a name of 1 to 64"):
            galleries.make("a/b")
        with pytest.raises(GalleryNotFound, match="'hut'"):
            galleries.delete("hut")
        with pytest.raises(GalleryNotFound):
            Store.open(location, "hut", make=False)
        with closing(Gallery.open(location, model_id="m", embedding_length=4, name="lab")) as lab:
            lab.enroll("ada", np.ones(4, np.float32), silhouettes=None)
            with pytest.raises(GalleryNotEmpty, match="1 subjects"):
                galleries.delete("lab")
            lab.change_settings({"aggregation": "mean"})
            lab.erase_subject("ada")
            galleries.delete("lab")
            assert galleries.all() == ()
            with pytest.raises(GalleryNotFound):
                lab.identify(np.ones(4, np.float32))
            with pytest.raises(GalleryNotFound):
                lab.enroll("ada", np.ones(4, np.float32), silhouettes=None)
        assert galleries.make("lab")
    with closing(Gallery.open(location, model_id="n", embedding_length=3, name="lab")) as lab:
        assert lab.settings().aggregation == "nearest"
        assert lab.live_model().model_id == "n"


def test_a_gallery_is_made_together_with_its_first_row_of_the_log(location: Any) -> None:
    with closing(Store.open(location)) as store, closing(Galleries.open(location)) as galleries:
        with store.database.writing() as connection:
            connection.execute(text("ALTER TABLE audit RENAME TO away"))
        with pytest.raises((StoreUnavailable, ProgrammingError)):
            galleries.make("lab")
        with store.database.writing() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO audit"))
        assert [one.name for one in galleries.all()] == ["main"]
        assert galleries.make("lab")


class DeletedMeanwhile(Database):
    """Another process deletes the gallery `lab` once this one has found it."""

    @contextmanager
    def alone(self, work: str, number: int) -> Iterator[None]:
        with closing(Galleries(self.again())) as others:
            others.delete("lab")
        with super().alone(work, number):
            yield

    def again(self) -> Database:
        return Database(self._location)


def test_a_gallery_that_two_delete_at_once_is_deleted_once(location: Any) -> None:
    with closing(Galleries.open(location)) as galleries:
        galleries.make("lab")
    with (
        closing(Galleries(DeletedMeanwhile(location))) as late,
        pytest.raises(GalleryNotFound, match="'lab'"),
    ):
        late.delete("lab")
    with closing(Store.open(location)) as store, store.database.reading() as connection:
        assert [row["outcome"] for row in audit.export(connection, "lab")] == ["made", "deleted"]


def test_an_open_gallery_that_is_deleted_and_made_again_is_an_empty_one(location: Any) -> None:
    with closing(open_gallery(location, name="lab")) as lab:
        with closing(Galleries.open(location)) as stored:
            for _ in range(2):
                lab.enroll("anna", embedding(1), silhouettes=None)
                lab.erase_subject("anna")
                stored.delete("lab")
                assert stored.make("lab")
                assert lab.status().in_sync
                assert (lab.live_model().model_id, lab.size().samples) == ("model-a", 0)
            stored.delete("lab")
            stored.make("lab")
        assert lab.identify(embedding(1)) == ()


def test_the_command_lists_makes_and_deletes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.open(tmp_path).close()

    def run(*words: str) -> list[str]:
        parser = argparse.ArgumentParser()
        gallery_command.configure(parser)
        assert gallery_command.run(parser.parse_args(["--data", str(tmp_path), *words])) == 0
        return capsys.readouterr().out.splitlines()

    empty = "0 samples of 0 subjects"
    assert run("--make", "lab") == [f"lab: {empty}", f"main: {empty}"]
    assert "conflict = refuse" in run("--gallery", "lab", "--set", "conflict=refuse")
    assert "conflict = report" in run()
    assert run("--delete", "lab") == [f"main: {empty}"]
    assert run("--list") == [f"main: {empty}"]
    with pytest.raises(GalleryNotFound):
        run("--gallery", "lab")
    with pytest.raises(InvalidSetting, match="--set alone"):
        run("--list", "--set", "conflict=off")


def test_an_encrypted_gallery_refuses_an_index_that_writes_plain_files(tmp_path: Path) -> None:
    key = write_master_key(tmp_path / "key")
    with closing(Store.open(tmp_path / "data", master_key=key)) as store:
        for kind in ("compact", "milvus"):
            with pytest.raises(InvalidSetting, match=f"got {kind}, which writes embeddings as"):
                change_settings(store, {"index_kind": kind})
        assert change_settings(store, {"index_kind": "exact"}).index_kind == "exact"


class SlowToClose:
    """A gallery that is served, and closes only while all others do."""

    def __init__(self, settings: Settings, others: asyncio.Barrier) -> None:
        self.rooms = SimpleNamespace(settings=settings)
        self._others = others

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Any]:
        yield self.rooms

    async def start(self) -> None:
        """Do nothing."""

    async def close(self, *, drain_s: float) -> None:
        async with asyncio.timeout(drain_s), self._others:
            pass


def test_all_galleries_drain_together(settings: Settings) -> None:
    async def story() -> None:
        barrier = asyncio.Barrier(3)

        def opened(*_: object) -> Any:
            return SlowToClose(settings, barrier)

        served = ServedGalleries(opened(), cast(Any, None), opened)
        for name in ("lab", "gate"):
            await served.find(name)
        await served.close(drain_s=20)

    asyncio.run(story())


def test_who_asks_for_an_open_gallery_does_not_wait_for_another_to_open(settings: Settings) -> None:
    begun, free = threading.Event(), threading.Event()

    def opened(_rooms: object, name: str, _stack: object) -> Any:
        if name == "vast":
            begun.set()
            assert free.wait(60)
        return SlowToClose(settings, asyncio.Barrier(1))

    async def story() -> None:
        served = ServedGalleries(opened(None, "own", None), cast(Any, None), opened)
        await served.find("lab")
        opening = asyncio.create_task(served.find("vast"))
        await asyncio.to_thread(begun.wait, 60)
        try:
            async with asyncio.timeout(5):
                await served.find("lab")
        finally:
            free.set()
        await opening

    asyncio.run(story())


def test_the_client_names_a_gallery(url: str, settings: Settings) -> None:
    with closing(Galleries.open(settings.data)) as galleries:
        galleries.make("lab")
    with Client(url, gallery="lab") as lab, Client(url) as own:
        lab.enroll("ada", walker(14))
        assert [one.subject for one in lab.subjects().subjects] == ["ada"]
        assert lab.identify(walker(14)).candidates[0].subject == "ada"
        assert own.subjects().subjects == ()
