"""Beyond one walk in a form: bare files, batches, windows, quality, ids of requests."""

import json
import logging
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery import Gallery, KeyStore
from service.app import create_app
from service.logs import JsonLines
from service.packed import MEDIA_TYPE, pack
from service.probes import split
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, npy, walker, zipped_walk
from tests.waiting import wait_until

Walk = NDArray[np.uint8]
PACKED = {"content-type": MEDIA_TYPE}


def sequence(walk: Walk) -> dict[str, Any]:
    return {"sequence": ("walk", npy(walk))}


def enroll(client: Caller, subject: str, walk: Walk, **options: Any) -> Any:
    return client.post("/enroll", data={"subject": subject}, files=sequence(walk), **options)


@pytest.mark.parametrize(
    ("pack_it", "kind"),
    [(pack, MEDIA_TYPE), (zipped_walk, "application/zip"), (npy, "application/octet-stream")],
)
def test_a_bare_file_is_a_walk(client: Caller, pack_it: Any, kind: str) -> None:
    query = {"subject": "ann", "metadata": '{"view": "090"}'}
    headers = {"content-type": kind}
    body = pack_it(walker(10))
    made = client.post("/enroll", params=query, content=body, headers=headers)
    assert made.status_code == 201, made.text
    assert client.get("/subjects/ann").json()["samples"][0]["metadata"] == {"view": "090"}
    asked = client.post("/identify", params={"limit": "1"}, content=body, headers=headers).json()
    assert asked["candidates"][0]["subject"] == "ann"


def test_a_field_comes_once(client: Caller) -> None:
    twice = client.post("/identify", params={"limit": "1"}, data={"limit": "1"},
                        files=sequence(walker(10)))  # fmt: skip
    assert (twice.status_code, twice.json()["code"]) == (422, "invalid_field")
    twice = client.post("/identify?limit=1&limit=2", content=pack(walker(10)), headers=PACKED)
    assert (twice.status_code, twice.json()["code"]) == (422, "invalid_request")


def test_a_batch_answers_each_walk_for_itself(client: Caller) -> None:
    for subject, build in (("ann", 8), ("ben", 14)):
        assert enroll(client, subject, walker(build)).status_code == 201
    bodies = [npy(walker(8)), b"nonsense", pack(walker(14)), npy(walker(9)[:2])]
    files = [("sequence", ("x", body)) for body in bodies]
    response = client.post("/identify/batch", files=files, data={"limit": "1"})
    assert response.status_code == 200, response.text
    items = response.json()["items"]
    answers = [item["identified"] for item in items]
    found = [answer and answer["candidates"][0]["subject"] for answer in answers]
    assert found == ["ann", None, "ben", None]
    codes = [item["problem"] and item["problem"]["code"] for item in items]
    assert codes == [None, "unsupported_format", None, "too_few_frames"]
    assert items[0]["identified"]["decision"] == "match"
    alone = client.post("/identify", files=sequence(walker(9)[:2])).json()
    assert items[3]["problem"] | {"request_id": alone["request_id"]} == alone


@pytest.mark.parametrize("count", [0, 65])
def test_a_batch_has_one_to_64_walks(client: Caller, count: int) -> None:
    files = [("sequence", ("x", b"x"))] * count or [("frames", ("x", b"x"))]
    response = client.post("/identify/batch", files=files)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(5, [(0, 5)]), (10, [(0, 10)]), (11, [(0, 10), (1, 11)]), (20, [(0, 10), (5, 15), (10, 20)])],
)
def test_windows_overlap_by_half_and_cover_the_walk(
    frames: int, expected: list[tuple[int, int]]
) -> None:
    walk = np.arange(frames, dtype=np.uint8)[:, None, None]
    found = [(int(part[0, 0, 0]), int(part[-1, 0, 0]) + 1) for part in split(walk, 10)]
    assert found == expected


def test_a_long_probe_is_answered_as_one(settings: Settings, gallery: Gallery) -> None:
    encoder = FakeEncoder()
    windowed = settings.model_copy(update={"window_frames": 40})
    with calling(create_app(windowed, encoder=encoder, gallery=gallery)) as client:
        enroll(client, "ann", walker(8, 40))
        enroll(client, "ben", walker(18, 100))
        assert encoder.batches[-1] == [100]
        # Two windows of ann's build and one of ben's: the walk is ann's, and one disagrees.
        probe = np.concatenate([walker(8, 60), walker(18, 20)])
        answer = client.post("/identify", files=sequence(probe)).json()
        assert sorted(length for batch in encoder.batches[2:] for length in batch) == [40] * 3
        verified = client.post("/verify", data={"subject": "ann"}, files=sequence(probe)).json()
        short = client.post("/identify", files=sequence(walker(8, 40))).json()
    assert answer["candidates"][0]["subject"] == "ann"
    assert answer["windows"]["count"] == 3
    assert answer["windows"]["frames"] == 40
    assert 1 <= answer["windows"]["same_nearest"] <= 3
    assert verified["windows"]["count"] == 3
    assert short["windows"] is None


def test_a_walk_of_more_windows_than_places_is_answered(
    settings: Settings, gallery: Gallery, encoder: FakeEncoder
) -> None:
    narrow = settings.model_copy(update={"window_frames": 30, "queue_walks": 2})
    with calling(create_app(narrow, encoder=encoder, gallery=gallery)) as client:
        answer = client.post("/identify", files=sequence(walker(8, 120)))
        assert answer.status_code == 200, answer.text
        assert answer.json()["windows"]["count"] == 7


def test_a_poor_walk_is_inconclusive_and_not_enrolled(client: Caller, gallery: Gallery) -> None:
    poor = walker(10, 10).repeat(2, axis=0)
    refused = enroll(client, "ann", poor)
    assert (refused.status_code, refused.json()["code"]) == (422, "poor_quality")
    assert refused.json()["reasons"] == ["DUPLICATE_FRAMES"]
    assert gallery.status().samples == 0
    enroll(client, "ann", walker(10))
    answer = client.post("/identify", files=sequence(poor)).json()
    assert answer["decision"] == "inconclusive"
    assert answer["reasons"] == answer["quality"]["faults"] == ["DUPLICATE_FRAMES"]
    shown = client.post("/preview", files=sequence(poor)).json()
    assert shown["quality"]["faults"] == ["DUPLICATE_FRAMES"]


def test_a_poor_walk_is_enrolled_by_who_may_overrule(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    store = KeyStore.open(settings.data)
    plain = store.create("plain", ["enroll"])[1]
    reviewer = store.create("reviewer", ["enroll", "review"])[1]
    store.close()
    poor = walker(10, 10).repeat(2, axis=0)

    def force(client: Caller, key: str, value: str = "true") -> tuple[int, str | None]:
        response = client.post("/enroll", data={"subject": "ann", "force": value},
                               files=sequence(poor),
                               headers={"authorization": f"Bearer {key}"})  # fmt: skip
        return response.status_code, response.json().get("code")

    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as client:
        assert force(client, plain) == (403, "missing_scope")
        assert force(client, reviewer, "yes") == (422, "invalid_field")
        assert force(client, reviewer, "false") == (422, "poor_quality")
        assert force(client, reviewer) == (201, None)


@pytest.mark.parametrize("sane", ["abc-1._Z", "0" * 64])
def test_a_sane_request_id_is_taken(client: Caller, sane: str) -> None:
    headers = {"x-request-id": sane}
    assert client.get("/livez", headers=headers).headers["x-request-id"] == sane
    problem = client.get("/subjects/nobody", headers=headers)
    assert problem.json()["request_id"] == sane


@pytest.mark.parametrize("wild", ["", "a b", "a" * 65, "a\tb", "<script>", "a;b"])
def test_a_wild_request_id_is_replaced(client: Caller, wild: str) -> None:
    made = client.get("/livez", headers={"x-request-id": wild}).headers["x-request-id"]
    assert made != wild
    assert len(made) == 32


def test_a_batch_is_dropped_when_its_caller_hangs_up(url: str, encoder: FakeEncoder) -> None:
    encoder.free.clear()
    files = [("sequence", ("walk", npy(walker(10))))] * 12
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=url, timeout=2) as client:
        client.post("/identify/batch", files=files)
    with httpx.Client(base_url=url, timeout=30) as client:
        # The encoder is held for twice as long as this.
        wait_until(lambda: "metagait_walks_in_work 0.0" in client.get("/metrics").text, seconds=10)
        encoder.free.set()
        # Whoever asks next is answered after the walks that were with the encoder, and no others.
        assert client.post("/identify", files=sequence(walker(10))).status_code == 200
    assert sum(len(batch) for batch in encoder.batches) < 6


def test_a_log_line_names_route_and_key_id_and_nobody(
    client: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/enroll", data={"subject": "ann-secret"},
                    files={"sequence": ("file-secret.zip", npy(walker(10)))},
                    headers={"authorization": "Bearer key-secret"})  # fmt: skip
        client.get("/subjects/ann-secret", headers={"x-request-id": "r-1"})
        client.get("/subjects/no-secret")
        client.post("/enroll?subject=q-secret", content=b"x", headers=PACKED)
    ours = [record for record in caplog.records if record.name.startswith("metagait")]
    lines = [json.loads(JsonLines().format(record)) for record in ours]
    assert "secret" not in json.dumps(lines)
    answered = [line for line in lines if line["logger"] == "metagait.requests"]
    assert [line["status"] for line in answered] == [201, 200, 404, 415]
    assert answered[1]["route"] == "/subjects/{subject:path}"
    assert answered[2]["problem"] == "subject_not_found"
    assert {"time", "level", "message", "method", "key_id", "milliseconds"} <= set(answered[0])


def test_an_exception_is_logged_as_one_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("metagait.test").exception("it failed")
    (record,) = caplog.records
    text = JsonLines().format(record)
    assert "\n" not in text
    assert "ValueError" in json.loads(text)["exception"]
