"""A request that is sent twice under one Idempotency-Key: worked on once, told apart, forgotten."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery import Gallery
from service.idempotency import KEPT, KEPT_BYTES, SECONDS, Answers, digest_of
from service.problems import Problem
from service.settings import Settings
from service.uploads import Upload
from tests.caller import Caller
from tests.fakes import FakeEncoder, npy, walker

Walk = NDArray[np.uint8]
KEY = {"idempotency-key": "order 66"}


def sequence(walk: Walk) -> dict[str, Any]:
    return {"sequence": ("walk", npy(walk))}


def enroll(client: Caller | httpx.Client, subject: str, walk: Walk, **options: Any) -> Any:
    return client.post("/enroll", data={"subject": subject}, files=sequence(walk), **options)


def test_an_enrolment_sent_twice_is_answered_once(client: Caller, encoder: FakeEncoder) -> None:
    first, second = (enroll(client, "ann", walker(10), headers=KEY) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert len(encoder.batches) == 1
    other = enroll(client, "ann", walker(11), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    other = enroll(client, "ben", walker(10), headers=KEY)
    assert other.status_code == 409
    client.delete("/subjects/ann")
    again = enroll(client, "ann", walker(10), headers=KEY)
    assert (again.status_code, again.json()["duplicate"]) == (201, False)


def test_two_keys_of_one_request_are_refused(client: Caller, encoder: FakeEncoder) -> None:
    answer = enroll(client, "ann", walker(10), headers=[*KEY.items(), ("Idempotency-Key", "other")])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["where"] == "header.idempotency-key"
    assert encoder.batches == []


@pytest.mark.parametrize(
    ("path", "data"),
    [("/identify", {}), ("/identify/batch", {}), ("/verify", {"subject": "ann"})],
)
def test_a_question_sent_twice_is_worked_on_once(
    client: Caller, encoder: FakeEncoder, path: str, data: dict[str, str]
) -> None:
    enroll(client, "ann", walker(10))

    def ask(build: int, **more: Any) -> Any:
        return client.post(path, data={**data, **more}, files=sequence(walker(build)), headers=KEY)

    first, second = ask(10), ask(10)
    assert (first.status_code, len(encoder.batches)) == (200, 2)
    assert first.json() == second.json()
    # The same key for another walk, another field, another path.
    others = [
        ask(11),
        ask(10, metadata='{"view": 90}'),
        enroll(client, "b", walker(9), headers=KEY),
    ]
    assert [other.json()["code"] for other in others] == ["idempotency_conflict"] * 3
    # An answer names people, so none outlives an erasure.
    enroll(client, "ben", walker(20))
    client.delete("/subjects/ben")
    assert ask(11).status_code == 200


def test_no_answer_outlives_an_erasure_by_another_process(
    client: Caller, gallery: Gallery, settings: Settings
) -> None:
    enroll(client, "ann", walker(10))
    before = client.post("/identify", files=sequence(walker(10)), headers=KEY).json()
    assert [one["subject"] for one in before["candidates"]] == ["ann"]
    status = gallery.status()
    other = Gallery.open(
        settings.data, model_id=status.model_id, embedding_length=status.embedding_length
    )
    with closing(other):
        other.erase_subject("ann")
    after = client.post("/identify", files=sequence(walker(10)), headers=KEY).json()
    assert after["candidates"] == []


@pytest.mark.parametrize("key", ["", "x" * 129])
def test_an_idempotency_key_has_bounds(client: Caller, key: str) -> None:
    answer = client.post("/identify", files=sequence(walker(9)), headers={"idempotency-key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_failure_is_not_kept(client: Caller, encoder: FakeEncoder) -> None:
    encoder.failure = RuntimeError("no")
    assert enroll(client, "ann", walker(10), headers=KEY).status_code == 500
    encoder.failure = None
    assert enroll(client, "ann", walker(10), headers=KEY).status_code == 201


class Kept:
    """Asks `Answers` in the name of callers, and notes whose work was done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[tuple[str, str]] = []
        self._answers = Answers(clock=lambda: self.now)

    async def ask(self, name: str, size: int = 1, *, caller: str = "one") -> None:
        async def work() -> Problem:
            self.done.append((caller, name))
            return Problem(
                type="", title="", status=1, code="", detail="x" * size, request_id=None,
                reasons=None, errors=None,
            )  # fmt: skip

        await self._answers.once(caller, name, "digest", Problem, work, keep=lambda _: True)

    def count(self, name: str, caller: str = "one") -> int:
        return self.done.count((caller, name))


def test_answers_are_forgotten_by_age_and_number() -> None:
    kept = Kept()

    async def story() -> None:
        await kept.ask("old")
        await kept.ask("old")
        kept.now += SECONDS
        await kept.ask("old")
        assert kept.count("old") == 2
        for number in range(KEPT):
            await kept.ask(f"{number}")
        await kept.ask("old")
        assert kept.count("old") == 3
        await kept.ask("large", KEPT_BYTES + 1)
        await kept.ask("large")
        assert kept.count("large") == 2

    asyncio.run(story())


@pytest.mark.parametrize(("count", "size"), [(2 * KEPT, 1), (40, KEPT_BYTES // 20)])
def test_one_caller_does_not_push_out_what_is_kept_for_another(count: int, size: int) -> None:
    kept = Kept()

    async def story() -> None:
        await kept.ask("early", caller="quiet")
        for number in range(count):
            await kept.ask(f"{number}", size, caller="loud")
        await kept.ask("late", caller="quiet")
        for name in ("early", "late"):
            await kept.ask(name, caller="quiet")
        # What the loud one asked last is kept for it, what it asked first is not.
        await kept.ask(f"{count - 1}", size, caller="loud")
        await kept.ask("0", size, caller="loud")

    asyncio.run(story())
    assert [kept.count(name, "quiet") for name in ("early", "late")] == [1, 1]
    assert [kept.count(name, "loud") for name in (f"{count - 1}", "0")] == [1, 2]


def test_what_is_in_work_is_told_apart_from_what_is_taken(url: str, encoder: FakeEncoder) -> None:
    encoder.free.clear()
    with ThreadPoolExecutor(1) as threads, httpx.Client(base_url=url, timeout=60) as client:
        first = threads.submit(enroll, client, "ann", walker(10), headers=KEY)
        assert encoder.entered.wait(timeout=60)
        same, other = (enroll(client, "ann", walker(b), headers=KEY) for b in (10, 11))
        encoder.free.set()
        assert first.result().status_code == 201
        again = enroll(client, "ann", walker(10), headers=KEY)
    assert (same.status_code, same.json()["code"]) == (409, "request_in_work")
    assert int(same.headers["retry-after"]) >= 1
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert "retry-after" not in other.headers
    assert again.json() == first.result().json()


def test_a_batch_in_which_a_walk_found_no_room_is_not_kept(
    client: Caller, encoder: FakeEncoder
) -> None:
    enroll(client, "ann", walker(10))

    def ask() -> Any:
        files = {"sequence": ("walk", npy(walker(10)))}
        (item,) = client.post("/identify/batch", files=files, headers=KEY).json()["items"]
        return item

    encoder.failure = RuntimeError("no")
    assert ask()["problem"]["status"] == 500
    encoder.failure = None
    first = ask()
    assert first["identified"]["decision"] == "match"
    assert ask() == first


def test_the_digest_tells_fields_and_files_apart() -> None:
    def upload(data: bytes, **fields: str) -> str:
        return digest_of(Upload(sequence=io.BytesIO(data), fields=fields))

    seen = {upload(b"x"), upload(b"y"), upload(b"x", subject="a"), upload(b"x", subject="b")}
    seen.add(digest_of(Upload(frames=(io.BytesIO(b"x"), io.BytesIO(b"")))))
    assert len(seen) == 5
    assert upload(b"x", a="1", b="2") == upload(b"x", b="2", a="1")
