"""The examples of problems in the OpenAPI document are sentences that the service says."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing

import cv2
import httpx
import numpy as np

from gallery import Gallery, KeyStore
from service.app import create_app
from service.packed import pack
from service.problem_examples import DETAILS
from service.problems import KINDS, Kind
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, walker

PLAIN = {"Content-Type": "text/plain"}


def masked(sentence: str) -> str:
    """Leave out of a sentence what differs from one time to the next: names and numbers."""
    return re.sub(r"'[^']*'|\b[0-9a-f]{32}\b|\d[\d,.:T-]*", "…", sentence)


def picture(height: int, width: int) -> bytes:
    return cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes()


def archive(pictures: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name, content in pictures.items():
            written.writestr(name, content)
    return file.getvalue()


def enrol(client: Caller, body: bytes, subject: str | None = "ann", **more: str) -> httpx.Response:
    fields = {**({} if subject is None else {"subject": subject}), **more}
    return client.post("/enroll", data=fields, files={"sequence": body})


def uploads(client: Caller) -> Iterator[httpx.Response]:
    """Walks that are refused."""
    walk = pack(walker(6))
    yield client.post("/identify", content=b"x", headers=PLAIN)
    yield enrol(client, walk, None)
    yield enrol(client, b"hello")
    yield enrol(client, walk[:-20])
    yield enrol(client, pack(walker(6)[:2]))
    yield enrol(client, pack(walker(6, 201)))
    yield enrol(client, pack(np.zeros((30, 96, 72), np.uint8)))
    yield enrol(client, pack(walker(6)[:6]))
    yield enrol(client, archive({"../1.png": picture(9, 9)}))
    yield enrol(client, archive({"1.png": picture(3000, 3000)}))
    yield enrol(client, b"\0" * 2_200_000)
    yield enrol(client, walk, "a\nb")
    yield enrol(client, walk, metadata=json.dumps({"note": "x" * 20_000}))
    yield enrol(client, walk, captured_at="2026-03-01T08:00:00")
    yield enrol(client, walk, consent=json.dumps({"basis": "a\nb"}))


def people(client: Caller) -> Iterator[httpx.Response]:
    """What is asked of people, galleries, jobs and receipts that are not there."""
    nobody = "0" * 32
    yield client.get("/subjects/nobody")
    yield client.get(f"/samples/{nobody}/walk")
    yield client.get(f"/receipts/{nobody}")
    yield client.get(f"/jobs/{nobody}")
    yield client.get("/galleries/lab")
    yield client.get("/subjects?limit=0")
    yield client.delete("/galleries/main")
    yield client.put("/galleries/-lab")
    yield client.patch("/galleries/main", json={"nearest_samples": 0})
    yield client.post("/calibrate", json={"target_fpir": 0.01})
    yield client.post("/rebuild", json={"model": "new.onnx"})


def in_turn(client: Caller, gallery: Gallery) -> Iterator[httpx.Response]:
    """What is refused for what came before."""
    key = {"Idempotency-Key": "monday"}
    for subject in ("ann", "ben"):
        answer = client.post(
            "/enroll", data={"subject": subject}, files={"sequence": pack(walker(6))}, headers=key
        )
    yield answer
    client.put("/galleries/lab").raise_for_status()
    client.post(
        "/enroll?gallery=lab", data={"subject": "ann"}, files={"sequence": pack(walker(6))}
    ).raise_for_status()
    yield client.delete("/galleries/lab")
    sample = gallery.enroll(
        "cat", np.ones(gallery.live_model().embedding_length, np.float32), silhouettes=None
    ).sample.sample_id
    yield client.get(f"/samples/{sample}/walk")
    yield client.get("/info", headers={"Host": "example.org"})


def with_keys(settings: Settings, client: Caller) -> Iterator[httpx.Response]:
    """What is refused for the key that it came with."""
    with closing(KeyStore.open(settings.store())) as keys:
        _, reader = keys.create("reader", ["read"], galleries=["lab"], per_minute=3)
    mine = {"Authorization": f"Bearer {reader}"}
    yield client.get("/subjects")
    yield client.get("/subjects", headers=mine)
    yield client.delete("/subjects/ann?gallery=lab", headers=mine)
    for _ in range(3):
        answer = client.get("/subjects?gallery=lab", headers=mine)
    yield answer


def test_every_code_has_a_sentence_of_its_own() -> None:
    kinds = {kind.code for kind in (*KINDS.values(), Kind(422, "invalid_request", ""))}
    assert set(DETAILS) == kinds
    assert len(set(DETAILS.values())) == len(DETAILS)
    assert all(DETAILS.values())


def test_they_are_the_sentences_that_are_said(
    client: Caller, gallery: Gallery, settings: Settings
) -> None:
    said: dict[str, str] = {}
    for answer in (*uploads(client), *people(client), *in_turn(client, gallery)):
        said[answer.json()["code"]] = answer.json()["detail"]
    with calling(create_app(settings, encoder=FakeEncoder(), gallery=gallery)) as guarded:
        for answer in with_keys(settings, guarded):
            said[answer.json()["code"]] = answer.json()["detail"]
    assert len(said) == 34
    for code, detail in said.items():
        assert masked(detail) == masked(DETAILS[code]), code
