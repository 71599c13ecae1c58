"""Every operation of the API by both clients, against a real service."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import cv2
import httpx
import numpy as np
import pytest

from service.app import create_app
from service.client import AsyncClient, Client
from service.errors import AnswerLostError, RefusedError
from service.schemas import Consent, GalleryChanges
from service.settings import Settings
from tests.caller import listening
from tests.fakes import png, walker
from tests.test_openapi import DOCUMENT
from tests.tiny_models import tiny_model
from tests.waiting import wait_until

# Prometheus asks for the figures, and they are no JSON.
NOT_CALLED = {"metrics"}
NAMES = {
    "list_subjects": "subjects",
    "read_subject": "subject",
    "read_receipt": "receipt",
    "read_walk": "walk",
    "list_galleries": "galleries",
    "read_gallery": "gallery",
    "list_jobs": "jobs",
    "read_job": "job",
    "livez": "alive",
    "readyz": "ready",
}
PAST = datetime(2026, 1, 5, tzinfo=UTC)


class Looped:
    """An asynchronous client that is called as the synchronous one is."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            return self._runner.run(getattr(self._client, name)(*given, **named))

        return call

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


Connect = Callable[..., Any]


@pytest.fixture(params=[Client, Looped])
def connect(request: pytest.FixtureRequest) -> Connect:
    """One client or the other, which a test closes."""

    @contextmanager
    def connected(url: str, **options: Any) -> Iterator[Client]:
        with closing(request.param(url, **options)) as client:
            yield cast(Client, client)

    return connected


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if name[0] != "_"}


def test_both_clients_have_a_call_for_every_operation() -> None:
    operations = {
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
    }
    calls = {NAMES.get(name, name) for name in operations - NOT_CALLED}
    assert public(Client) == public(AsyncClient) == calls | {"close"}


def test_walks_are_enrolled_and_looked_for(connect: Connect, url: str, tmp_path: Path) -> None:
    for position, frame in enumerate(walker(10)):
        cv2.imwrite(str(tmp_path / f"{position}.png"), frame)
    with connect(url) as client:
        assert client.alive().status == "alive"
        assert client.ready().status == "ready"
        first = client.enroll("ann", walker(10), metadata={"view": 90})
        assert client.enroll("ann", tmp_path).duplicate
        assert client.identify(tmp_path).candidates[0].subject == "ann"
        (item,) = client.identify_batch([walker(10)], metadata={"view": 126})
        assert item.identified is not None
        (candidate,) = item.identified.candidates
        assert candidate.view is not None
        assert candidate.view.difference == 36
        assert client.verify("ann", walker(10) > 0).decision == "match"
        shown = client.preview(tmp_path)
        assert (shown.frames, shown.quality.faults) == (20, ())
        assert client.walk(first.sample_id).png == shown.png
        assert base64.b64decode(shown.png).startswith(b"\x89PNG")
        assert client.info().provider == "FakeProvider"


def test_people_are_listed_kept_for_a_reason_and_erased(connect: Connect, url: str) -> None:
    with connect(url) as client:
        first = client.enroll("a/nn", walker(10))
        client.enroll("ben", walker(20))
        page = client.subjects(limit=1)
        assert ([one.subject for one in page.subjects], page.next) == (["a/nn"], "a/nn")
        assert [one.subject for one in client.subjects(after=page.next).subjects] == ["ben"]
        consent = Consent(basis="study 4", reference="17", expires=PAST)
        assert client.record_consent("a/nn", consent) == consent
        assert [one.subject for one in client.subjects(expired=True).subjects] == ["a/nn"]
        assert [one.subject for one in client.subjects(search="É").subjects] == ["ben"]
        detail = client.subject("a/nn")
        assert (detail.consent, detail.samples[0].sample_id) == (consent, first.sample_id)
        assert client.subject("a/nn", after=first.sample_id).samples == ()
        erased = client.erase_sample(first.sample_id)
        assert erased.receipt.subject_erased
        assert client.receipt(erased.receipt.receipt_id) == erased.receipt
        assert client.erase_subject("ben").samples == 1


@pytest.mark.parametrize("name", [".", "..", "", "x/../galleries/main"])
def test_a_name_never_leads_to_another_path(connect: Connect, url: str, name: str) -> None:
    with connect(url) as client:
        for ask in (client.subject, client.erase_subject, client.erase_sample, client.receipt,
                    client.walk, client.gallery, client.job, client.cancel_job):  # fmt: skip
            with pytest.raises(RefusedError) as refused:
                ask(name)
            assert refused.value.status in (404, 405)


def test_galleries_are_made_changed_and_deleted(connect: Connect, url: str) -> None:
    with connect(url, gallery="lab") as client:
        assert client.make_gallery("lab").settings.conflict == "report"
        changed = client.change_gallery("lab", GalleryChanges(aggregation="mean"))
        assert (changed.settings.aggregation, changed.settings.conflict) == ("mean", "report")
        assert client.gallery("lab") == changed
        enrolled = client.enroll("ann", walker(10))
        assert enrolled.gallery.name == "lab"
        listed = client.galleries()
        assert [(one.name, one.samples) for one in listed.galleries] == [("lab", 1), ("main", 0)]
        assert listed.own == "main"
        client.erase_subject("ann")
        assert [one.name for one in client.delete_gallery("lab").galleries] == ["main"]
        with pytest.raises(RefusedError, match="gallery_not_found") as refused:
            client.delete_gallery("lab")
        assert type(refused.value) is RefusedError


def test_a_threshold_is_measured_with_the_gallery(connect: Connect, url: str) -> None:
    with connect(url) as client:
        with pytest.raises(RefusedError, match="calibration_refused"):
            client.calibrate()
        for place in range(10):
            client.enroll(f"p-{place}", walker(8 + place))
            client.enroll(f"p-{place}", walker(8 + place, 25))
        measured = client.calibrate(0.3, idempotency_key="once")
        assert (measured.target_fpir, measured.subjects) == (0.3, 10)
        assert client.calibrate(0.3, idempotency_key="once") == measured
        assert client.gallery("main").calibration == measured
        with pytest.raises(RefusedError) as refused:
            client.calibrate(2)
        assert refused.value.status == 422


def test_a_gallery_is_moved_to_another_model(
    connect: Connect, settings: Settings, tmp_path: Path
) -> None:
    old = tiny_model(tmp_path / "old.onnx", "tiny-old", dimensions=11)
    tiny_model(tmp_path / "new.onnx", "tiny-new", dimensions=4, factor=-3.0)
    changed = settings.model_copy(update={"model": old, "models": tmp_path})
    with listening(create_app(changed)) as port, connect(f"http://127.0.0.1:{port}") as client:
        client.enroll("ann", walker(10))
        begun = client.rebuild("new.onnx", idempotency_key="once")
        assert client.rebuild("new.onnx", idempotency_key="once").job_id == begun.job_id
        wait_until(lambda: client.job(begun.job_id).state != "running")
        done = client.job(begun.job_id)
        assert (done.state, done.done, done.total) == ("done", 1, 1)
        assert client.jobs() == (done,)
        assert client.cancel_job(begun.job_id) == done
        wait_until(lambda: client.info().model.name == "tiny-new")
        with pytest.raises(RefusedError, match="unknown_model"):
            client.rebuild("none.onnx")


def test_a_deletion_that_finds_no_gallery_after_a_loss_may_have_been_done() -> None:
    answers: list[httpx.Response | httpx.ReadError] = [
        httpx.ReadError("reset"),
        httpx.Response(404, json={"code": "gallery_not_found", "detail": "none"}),
    ]

    def answer(_: httpx.Request) -> httpx.Response:
        outcome = answers.pop(0)
        if isinstance(outcome, httpx.ReadError):
            raise outcome
        return outcome

    transport = httpx.MockTransport(answer)
    with (
        Client("http://x", transport=transport, wait=lambda _: None) as client,
        pytest.raises(AnswerLostError),
    ):
        client.delete_gallery("lab")


def test_pictures_of_any_name_make_one_walk(connect: Connect, url: str, tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    frames = [png(frame) for frame in walker(10)]
    for position, frame in enumerate(frames):
        name = f"{position} 12:00\\\udcff.png"
        (folder / name).write_bytes(frame)
        (folder / f"._{name}").write_bytes(b"a Mac's")
    with connect(url) as client:
        enrolled = client.enroll("ann", walker(10))
        assert client.enroll("ann", folder).sample_id == enrolled.sample_id


def test_a_picture_that_is_none_is_named_as_its_file(
    connect: Connect, url: str, tmp_path: Path
) -> None:
    for position, frame in enumerate(walker(10)):
        (tmp_path / f"{position}.png").write_bytes(png(frame))
    (tmp_path / "7.png").write_bytes(b"broken")
    with connect(url) as client, pytest.raises(RefusedError, match=r"'7\.png': expected"):
        client.identify(tmp_path)


def test_a_list_of_pictures_is_sent_in_its_order(
    connect: Connect, url: str, tmp_path: Path
) -> None:
    walk = walker(10)
    pictures = []
    for position, frame in enumerate(walk):
        path = tmp_path / str(-position) / "same.png"
        path.parent.mkdir()
        path.write_bytes(png(frame))
        pictures.append(path)
    with connect(url) as client:
        shown = client.preview(walk)
        assert client.preview(pictures).png == shown.png
        client.enroll("ann", walk)
        (item,) = client.identify_batch([pictures])
        assert item.identified is not None
        assert np.isclose(item.identified.candidates[0].distance, 0)
