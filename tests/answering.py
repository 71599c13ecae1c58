"""A story in which every operation answers as it does when all goes well.

    python -m tests.answering > service/examples.json

records it on the shipped model with synthetic walkers: the examples of the OpenAPI document. Tests
tell it again with a fake encoder, and hold those examples and the documented headers to it.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from model.encoder import SHIPPED_MODEL
from model.walkers.generate import render_walk
from service.app import create_app
from service.packed import pack
from service.settings import Settings
from tests.caller import Caller, calling

Walk = Callable[[int, int], NDArray[np.uint8]]
"""The masks of a person, by number, and of one of that person's walks, by number."""
Answers = Iterator[tuple[str, httpx.Response]]
"""Operation ids, each with what it answered."""


def story(
    client: Caller, walk: Walk, *, people: int = 10, another_model: str | None = None
) -> Answers:
    """Tell it on an empty gallery of a service without keys.

    Args:
        client: of the service.
        walk: makes the walks.
        people: who arrive; the more they are, the less often a stranger may be named.
        another_model: to rebuild the gallery with, so that there is something to do.

    """
    yield from _people_arrive(client, walk, people)
    yield from _people_are_looked_for(client, walk, people + 1)
    # What so many people can promise.
    yield from _galleries_come_and_go(client, {"target_fpir": 3 / people})
    yield from _people_leave(client, people + 1)
    yield from _the_gallery_is_rebuilt(client, another_model)
    for path in ("livez", "readyz", "info"):
        yield path, client.get(f"/{path}")


def _people_arrive(client: Caller, walk: Walk, people: int) -> Answers:
    enroll = partial(_enroll, client)
    yield "enroll", enroll(1, walk(1, 1))
    yield "enroll", enroll(1, walk(1, 1))
    for person in range(1, people + 1):
        for number in (1, 2):
            enroll(person, walk(person, number)).raise_for_status()
    consent = {"basis": "consent", "reference": "form 2026-017", "expires": "2031-01-31T00:00:00Z"}
    yield "record_consent", client.put("/subjects/p-001/consent", json=consent)
    yield "list_subjects", client.get("/subjects?limit=2")
    yield "read_subject", client.get("/subjects/p-001")


def _enroll(client: Caller, person: int, masks: NDArray[np.uint8], **more: str) -> httpx.Response:
    fields = {"subject": f"p-{person:03}", "metadata": json.dumps({"view": 90}), **more}
    return client.post("/enroll", data=fields, files={"sequence": pack(masks)})


def _people_are_looked_for(client: Caller, walk: Walk, last: int) -> Answers:
    probe, glimpse = pack(walk(1, 3)), pack(walk(2, 3)[:2])
    asked = {"limit": "2", "metadata": json.dumps({"view": 96})}
    files = [("sequence", probe), ("sequence", glimpse)]
    yield "identify", client.post("/identify", data=asked, files={"sequence": probe})
    yield "identify_batch", client.post("/identify/batch", data={"limit": "1"}, files=files)
    claimed = {"subject": "p-001"}
    yield "verify", client.post("/verify", data=claimed, files={"sequence": probe})
    # One frame again and again, so that its picture is short.
    still = walk(2, 3)[[0] * 5]
    yield "preview", client.post("/preview", files={"sequence": pack(still)})
    _enroll(client, last, still, force="true").raise_for_status()


def _galleries_come_and_go(client: Caller, promise: dict[str, float]) -> Answers:
    for _ in range(2):
        yield "make_gallery", client.put("/galleries/lab")
    yield "list_galleries", client.get("/galleries")
    yield "change_gallery", client.patch("/galleries/main", json={"conflict": "refuse"})
    yield "calibrate", client.post("/calibrate", json=promise)
    yield "read_gallery", client.get("/galleries/main")
    yield "delete_gallery", client.delete("/galleries/lab")


def _people_leave(client: Caller, last: int) -> Answers:
    (sample,) = client.get(f"/subjects/p-{last:03}").json()["samples"]
    yield "read_walk", client.get(f"/samples/{sample['sample_id']}/walk")
    yield "erase_sample", client.delete(f"/samples/{sample['sample_id']}")
    erased = client.delete("/subjects/p-002")
    yield "erase_subject", erased
    yield "read_receipt", client.get(f"/receipts/{erased.json()['receipt']['receipt_id']}")


def _the_gallery_is_rebuilt(client: Caller, model: str | None) -> Answers:
    begun = client.post("/rebuild", json={} if model is None else {"model": model})
    yield "rebuild", begun
    path = begun.headers["location"]
    _wait_for(client, path, lambda job: job["done"] > 0)
    yield "read_job", client.get(path)
    yield "cancel_job", client.delete(path)
    _wait_for(client, path, lambda job: False)
    yield "list_jobs", client.get("/jobs")


def _wait_for(client: Caller, path: str, reached: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until a job is where it is awaited, or has ended."""
    while (job := client.get(path).json())["state"] == "running" and not reached(job):
        time.sleep(0.05)


def recorded(answers: Answers) -> dict[str, dict[str, Any]]:
    """Sort answers by operation id and status; the first of each is kept."""
    kept: dict[str, dict[str, Any]] = {}
    for operation, answer in answers:
        answer.raise_for_status()
        kept.setdefault(operation, {}).setdefault(str(answer.status_code), answer.json())
    return kept


def _walker(person: int, number: int) -> NDArray[np.uint8]:
    # The third is seen a little from behind.
    condition, view = (("nm-01", 90), ("nm-02", 90), ("nm-05", 96))[number - 1]
    return render_walk(person + 9020, condition, view)


def main() -> int:
    """Record the story."""
    with (
        tempfile.TemporaryDirectory() as folder,
        calling(create_app(Settings(data=Path(folder), models=SHIPPED_MODEL.parent))) as client,
    ):
        told = story(client, _walker, people=60, another_model="metagait-int8.onnx")
        answers = recorded(told)
    sys.stdout.write(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
