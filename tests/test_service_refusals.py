"""What the service refuses, with which problem, and that nothing is written then."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest

from gallery import Gallery, IndexUnavailable
from gallery.index import ExactIndex
from service.app import create_app
from service.errors import SettingsError
from service.problems import KINDS, kind_of
from service.settings import Settings, load_settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, mean_picture, npy, walker

WALK = npy(walker(10))


def sequence(data: bytes) -> dict[str, Any]:
    return {"sequence": ("walk", data)}


def check_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:metagait:problem:{code}"
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("subject", ["", " ", "a\0b", "a\nb", "x" * 129, " ann"])
def test_subjects_that_cannot_be_shown_are_refused(client: Caller, subject: str) -> None:
    response = client.post("/enroll", data={"subject": subject}, files=sequence(WALK))
    check_problem(response, 422, "invalid_subject")


@pytest.mark.parametrize(
    ("url", "fields", "status", "code"),
    [
        ("/enroll", {"subject": ""}, 422, "invalid_subject"),
        ("/enroll", {}, 422, "invalid_field"),
        ("/enroll", {"subject": "ann", "metadata": f'["{"x" * 9}"]'}, 422, "invalid_field"),
        ("/enroll", {"subject": "ann", "metadata": f'{{"x": "{"x" * 17_000}"}}'}, 422,
         "invalid_metadata"),
        ("/enroll", {"subject": "ann", "captured_at": "2026-03-01T08:00:00"}, 422,
         "invalid_capture"),
        ("/enroll", {"subject": "ann", "consent": '{"basis": "\\n"}'}, 422, "invalid_consent"),
        ("/enroll", {"subject": "ann", "force": "yes"}, 422, "invalid_field"),
        ("/identify", {"limit": "0"}, 422, "invalid_field"),
        ("/identify/batch", {"limit": "0"}, 422, "invalid_field"),
        ("/identify/batch", {"metadata": "[]"}, 422, "invalid_field"),
        ("/verify", {}, 422, "invalid_field"),
        ("/verify", {"subject": "nobody"}, 404, "subject_not_found"),
        ("/verify", {"subject": ""}, 404, "subject_not_found"),
    ],
)  # fmt: skip
def test_what_can_be_judged_without_the_walk_is_refused_before_it_is_decoded(
    client: Caller, url: str, fields: dict[str, str], status: int, code: str
) -> None:
    no_walk = client.post(url, data=fields, files=sequence(b"nothing that could be decoded"))
    check_problem(no_walk, status, code)


def test_a_walk_too_poor_to_enrol_is_not_embedded(client: Caller, encoder: FakeEncoder) -> None:
    standing = np.repeat(walker(10)[:1], 60, axis=0)
    response = client.post("/enroll", data={"subject": "ann"}, files=sequence(npy(standing)))
    check_problem(response, 422, "poor_quality")
    assert encoder.batches == []


@pytest.mark.parametrize("subject", [".", ".."])
def test_subjects_that_no_url_can_name_are_refused(client: Caller, subject: str) -> None:
    response = client.post("/enroll", data={"subject": subject}, files=sequence(WALK))
    check_problem(response, 422, "invalid_field")


@pytest.mark.parametrize("written", [".", "..", "%2E", "%2e%2e"])
def test_one_enrolled_before_under_such_a_name_is_shown_and_erased(
    url: str, gallery: Gallery, written: str
) -> None:
    subject = unquote(written)
    gallery.enroll(subject, np.zeros(88, np.float32), silhouettes=None)
    host = url.removeprefix("http://")
    with closing(HTTPConnection(host, timeout=20)) as connection:  # sends a path as it is
        for method in ("GET", "DELETE"):
            connection.request(method, f"/subjects/{written}")
            answer = json.load(connection.getresponse())
            assert answer["subject"] == subject
    assert gallery.subjects() == ()


@pytest.mark.parametrize(
    "form",
    [
        {"files": sequence(WALK)},
        {"data": {"subject": "ann"}, "files": {"walk": ("x", WALK)}},
        {"data": {"subject": "ann", "sequence": "text"}, "files": {"frames": ("x", WALK)}},
        {"data": {"subject": ["ann", "ben"]}, "files": sequence(WALK)},
        {"files": {**sequence(WALK), "subject": ("x", b"ann")}},
        {"data": {"subject": "ann"}, "files": [("sequence", ("x", WALK))] * 2},
        {"data": {"subject": "ann"}, "files": {**sequence(WALK), "frames": ("x", WALK)}},
    ],
)
def test_wrong_fields_are_named(client: Caller, form: dict[str, Any]) -> None:
    check_problem(client.post("/enroll", **form), 422, "invalid_field")


def test_the_frameworks_own_errors_are_problems(client: Caller) -> None:
    check_problem(client.get("/nowhere"), 404, "not_found")
    check_problem(client.get("/web/nowhere.js"), 404, "not_found")
    check_problem(client.get("/subjects", params={"limit": "0"}), 422, "invalid_request")
    wrong_method = client.request("PUT", "/enroll")
    check_problem(wrong_method, 405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"
    assert client.request("PUT", "/subjects/ann").headers["allow"] == "DELETE, GET, HEAD"
    assert client.get("/subjects/ann/consent").status_code == 404
    assert client.request("PATCH", "/subjects/ann/consent").headers["allow"] == "PUT"


def test_an_internal_failure_tells_nothing(client: Caller, encoder: FakeEncoder) -> None:
    encoder.failure = RuntimeError("secret path and other internals")
    response = client.post("/identify", files=sequence(WALK))
    check_problem(response, 500, "internal_error")
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert response.headers["x-content-type-options"] == "nosniff"


class _GoneIndex(ExactIndex):
    """An engine whose server is gone, and which says where that was."""

    def search(self, *_arguments: Any, **_named: Any) -> Any:
        raise IndexUnavailable("expected an answer, got: no route to 10.1.2.3:19530")


@contextmanager
def _engine_gone(settings: Settings, encoder: FakeEncoder) -> Iterator[tuple[Caller, Gallery]]:
    """Call a service whose search engine does not answer."""
    facts = encoder.facts
    with (
        closing(
            Gallery.open(
                settings.data,
                model_id=facts.model_id,
                embedding_length=facts.embedding_length,
                index=_GoneIndex(facts.embedding_length),
            )
        ) as gallery,
        calling(create_app(settings, encoder=encoder, gallery=gallery)) as client,
    ):
        yield client, gallery


def test_where_the_search_engine_is_stands_in_the_log_and_not_in_the_answer(
    settings: Settings, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    with _engine_gone(settings, encoder) as (client, _):
        client.post("/enroll", data={"subject": "ann"}, files=sequence(WALK))
        response = client.post("/identify", files=sequence(WALK))
    check_problem(response, 503, "index_unavailable")
    assert "10.1.2.3" not in response.text
    (told,) = [one for one in caplog.records if "10.1.2.3:19530" in one.getMessage()]
    assert told.levelname == "WARNING"


def test_who_is_erased_while_the_search_engine_is_gone_has_a_receipt(
    settings: Settings, encoder: FakeEncoder
) -> None:
    with _engine_gone(settings, encoder) as (client, gallery):
        for subject, build in (("ann", 8), ("ben", 20)):
            gallery.enroll(subject, mean_picture(walker(build)[:, :64, :44]), silhouettes=None)
        erased = client.delete("/subjects/ann")
        assert erased.status_code == 200, erased.text
        receipt = erased.json()["receipt"]
        assert receipt["proof"] is None
        said = f"{erased.json()['salt']}ann".encode()
        assert receipt["subject_digest"] == sha256(said).hexdigest()
        assert client.get(f"/receipts/{receipt['receipt_id']}").json() == receipt
        assert client.get("/subjects/ann").status_code == 404


def test_a_service_full_of_walks_refuses_at_once(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    small = settings.model_copy(update={"queue_walks": 1})
    refused: list[httpx.Response] = []

    async def slow_body() -> Any:
        # While this upload is in work there is no place for another.
        refused.append(await ask_inside())
        yield b"--b--\r\n"

    app = create_app(small, encoder=encoder, gallery=gallery)

    async def ask_inside() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as second:
            return await second.post("/identify", files=sequence(WALK))

    kind = {"content-type": "multipart/form-data; boundary=b"}
    with calling(app) as client:
        client.post("/identify", content=slow_body(), headers=kind)
        assert client.post("/identify", files=sequence(WALK)).status_code == 200
    check_problem(refused[0], 503, "busy")
    assert int(refused[0].headers["retry-after"]) >= 1


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:81"])
def test_another_sites_page_cannot_change_anything(
    client: Caller, gallery: Gallery, origin: str
) -> None:
    headers = {"origin": origin}
    fields = {"subject": "ann"}
    response = client.post("/enroll", data=fields, files=sequence(WALK), headers=headers)
    check_problem(response, 403, "cross_origin")
    check_problem(client.delete("/subjects/ann", headers=headers), 403, "cross_origin")
    both = [("origin", "http://127.0.0.1"), ("origin", origin)]
    check_problem(client.delete("/subjects/ann", headers=both), 403, "cross_origin")
    assert gallery.status().samples == 0


def test_its_own_page_can(client: Caller) -> None:
    headers = {"origin": "http://127.0.0.1"}
    fields = {"subject": "ann"}
    response = client.post("/enroll", data=fields, files=sequence(WALK), headers=headers)
    assert response.status_code == 201


def test_every_error_finds_its_kind_along_its_classes() -> None:
    for error in _leaves(Exception):
        if error.__module__.split(".")[0] in ("service", "gallery", "model"):
            # A bare instance: some errors need arguments that do not matter here.
            assert kind_of(Exception.__new__(error)) in KINDS.values()


def test_a_code_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for kind in KINDS.values():
        statuses.setdefault(kind.code, set()).add(kind.status)
    assert all(len(found) == 1 for found in statuses.values())


def _leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    children = kind.__subclasses__()
    yield kind
    for child in children:
        yield from _leaves(child)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGAIT_PORT", "8123")
    assert load_settings().port == 8123
    assert load_settings(port=9000, host=None).port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METAGAIT_PORT", "99999"),
        ("METAGAIT_PROVIDER", "gpu"),
        ("METAGAIT_TREADS", "2"),
        # Longer than the system can count: SIGTERM would end the service in the middle of it.
        ("METAGAIT_SHUTDOWN_GRACE_S", "inf"),
        ("METAGAIT_DRAIN_TIMEOUT_S", "1000000000000"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1
