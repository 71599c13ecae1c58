"""Two models and one gallery, over HTTP with a service that runs all the while."""

import argparse
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gallery.commands import rebuild
from model.encoder import OnnxEncoder
from service.app import create_app
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import npy, walker
from tests.tiny_models import tiny_model
from tests.waiting import wait_until

PEOPLE = {"ann": 8, "ben": 13, "cem": 18}
LATER = {"dan": 23, "eva": 27}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "a": tiny_model(folder / "a.onnx", "tiny-a", dimensions=11),
        "b": tiny_model(folder / "b.onnx", "tiny-b", dimensions=4, factor=-3.0),
    }


def id_of(path: Path) -> str:
    return OnnxEncoder.open(path).facts.model_id


def send(client: Caller, url: str, build: int, **fields: str) -> httpx.Response:
    return client.post(url, data=fields, files={"sequence": ("w", npy(walker(build)))})


def enroll(client: Caller, subject: str, build: int) -> dict[str, Any]:
    response = send(client, "/enroll", build, subject=subject)
    assert response.status_code in (200, 201), response.text
    body: dict[str, Any] = response.json()
    return body


def batch(client: Caller) -> dict[str, Any]:
    files = {"sequence": ("w", npy(walker(PEOPLE["ann"])))}
    answer = client.post("/identify/batch", files=files, headers={"Idempotency-Key": "one"})
    (item,) = answer.json()["items"]
    return dict(item)


def assert_found(client: Caller, people: dict[str, int], model_id: str | None = None) -> None:
    for subject, build in people.items():
        response = send(client, "/identify", build)
        assert response.status_code == 200, response.text
        nearest = response.json()["candidates"][0]
        assert nearest["subject"] == subject
        # Embedded by one model and searched in another's generation it would be far away.
        assert nearest["distance"] == pytest.approx(0, abs=1e-3)
        assert model_id in (None, response.json()["model"]["model_id"])


def command(settings: Settings, *words: str) -> None:
    parser = argparse.ArgumentParser()
    rebuild.configure(parser)
    assert rebuild.run(parser.parse_args(["--data", str(settings.data), *words])) == 0


def serves(client: Caller, model_id: str) -> bool:
    return bool(client.get("/info").json()["model"]["model_id"] == model_id)


@contextmanager
def asking_all_the_while(client: Caller) -> Iterator[list[str]]:
    """Identify people over and over; every answer has to be right, whichever model gives it."""
    done, models_seen = threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            answer = send(client, "/identify", PEOPLE["ann"])
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert body["candidates"][0]["subject"] == "ann"
            assert body["candidates"][0]["distance"] == pytest.approx(0, abs=1e-3)
            models_seen.append(body["model"]["model_id"])

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            yield models_seen
        finally:
            done.set()
            asked.result(timeout=60)


def test_a_running_service_takes_up_a_rebuild_and_a_rollback(
    settings: Settings, models: dict[str, Path]
) -> None:
    settings = settings.model_copy(update={"model": models["a"]})
    a, b = id_of(models["a"]), id_of(models["b"])
    with calling(create_app(settings)) as client:
        for subject, build in PEOPLE.items():
            enroll(client, subject, build)
        with asking_all_the_while(client) as seen:
            command(settings, "--model", str(models["b"]), "--threads", "1")
            # Whoever comes before the service has looked gets the new model at once.
            assert enroll(client, "dan", LATER["dan"])["model"]["model_id"] == b
            client.delete("/subjects/cem")
            wait_until(lambda: bool(seen) and seen[-1] == b)
        assert set(seen) <= {a, b}
        assert seen == sorted(seen, key=[a, b].index), "no answer by the old model after the new"
        people = {"ann": PEOPLE["ann"], "ben": PEOPLE["ben"], "dan": LATER["dan"]}
        assert_found(client, people, b)
        assert client.get("/readyz").status_code == 200
        gallery = client.get("/info").json()["gallery"]
        assert (gallery["generation"], gallery["samples"]) == (2, 3)

        refused = pytest.raises(Exception, match="1 enrolled since")
        with refused:
            command(settings, "--rollback")
        client.delete("/subjects/dan")
        with asking_all_the_while(client):
            command(settings, "--rollback")
            wait_until(lambda: serves(client, a))
        assert_found(client, {"ann": PEOPLE["ann"], "ben": PEOPLE["ben"]}, a)
        assert enroll(client, "eva", LATER["eva"])["model"]["model_id"] == a


def test_a_restart_comes_back_with_the_model_that_the_gallery_moved_to(
    settings: Settings, models: dict[str, Path]
) -> None:
    settings = settings.model_copy(update={"model": models["a"]})
    with calling(create_app(settings)) as client:
        enroll(client, "ann", PEOPLE["ann"])
    command(settings, "--model", str(models["b"]))
    with calling(create_app(settings)) as client:
        assert_found(client, {"ann": PEOPLE["ann"]}, id_of(models["b"]))


def test_another_model_is_refused_with_the_way_out_and_that_way_leads_out(
    settings: Settings, models: dict[str, Path]
) -> None:
    first = settings.model_copy(update={"model": models["a"]})
    with calling(create_app(first)) as client:
        for subject, build in PEOPLE.items():
            enroll(client, subject, build)
    second = settings.model_copy(update={"model": models["b"]})
    with calling(create_app(second)) as client:
        for url, fields in (("/identify", {}), ("/enroll", {"subject": "x"})):
            refused = send(client, url, PEOPLE["ann"], **fields)
            assert refused.status_code == 409
            assert refused.json()["code"] == "model_mismatch"
            assert "run `metagait rebuild --model FILE`" in refused.json()["detail"]
        assert batch(client)["problem"]["code"] == "model_mismatch"
        assert client.get("/readyz").status_code == 503
        assert len(client.get("/subjects").json()["subjects"]) == 3
        command(second, "--model", str(models["b"]))
        assert_found(client, PEOPLE, id_of(models["b"]))
        assert batch(client)["problem"] is None, "asked again under the same key"
        assert client.get("/readyz").status_code == 200
        command(second, "--rollback")
        wait_until(lambda: serves(client, id_of(models["a"])))
        assert_found(client, PEOPLE, id_of(models["a"]))


def test_a_model_file_that_was_exchanged_is_not_opened(
    settings: Settings, models: dict[str, Path]
) -> None:
    settings = settings.model_copy(update={"model": models["a"]})
    a, b = id_of(models["a"]), id_of(models["b"])
    with calling(create_app(settings)) as client:
        enroll(client, "ann", PEOPLE["ann"])
        command(settings, "--model", str(models["b"]))
        wait_until(lambda: serves(client, b))
        (settings.data / "models" / f"{a}.onnx").write_bytes(models["b"].read_bytes())
        command(settings, "--rollback")
        # The generation that is still whole goes on; what only the other could do is refused.
        assert_found(client, {"ann": PEOPLE["ann"]}, b)
        refused = send(client, "/enroll", 10, subject="ben")
        assert (refused.status_code, refused.json()["code"]) == (409, "model_mismatch")
        (settings.data / "models" / f"{a}.onnx").write_bytes(models["a"].read_bytes())
        assert enroll(client, "ben", 10)["model"]["model_id"] == a
