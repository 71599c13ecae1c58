"""What the OpenAPI document says of answers, held to those that the service gives."""

from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.app import create_app
from service.request_ids import HEADER
from service.settings import Settings
from tests.answering import Answers, recorded, story
from tests.caller import Caller
from tests.fakes import FakeEncoder, walker

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
}
# On every answer, for browsers and proxies (service/security.py), and of the body itself.
NOT_OF_THE_API = {
    *("cache-control", "content-security-policy", "cross-origin-resource-policy"),
    *("content-length", "content-type", "referrer-policy", "x-content-type-options"),
}


class OneBatchThenHeld(FakeEncoder):
    """Another model, whose rebuild gets no further than a batch until it is cancelled."""

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        embedded = super().encode(walks)
        self.free.clear()
        return embedded


@pytest.fixture
def told(client: Caller, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, httpx.Response]]:
    another = OneBatchThenHeld(model_id="another-fake")
    monkeypatch.setattr("service.app.open_model", lambda _path, _choice: another)

    def walk(person: int, _number: int) -> NDArray[np.uint8]:
        return walker(2 * person + 4, 20)

    answers = []
    for operation, answer in story(client, walk):
        answers.append((operation, answer))
        if operation == "cancel_job":
            another.free.set()
    return answers


def refusals(client: Caller) -> Answers:
    """Some requests that are refused, each for another reason."""
    yield "read_subject", client.get("/subjects/nobody")
    yield "list_subjects", client.get("/subjects?limit=0")
    yield "identify", client.post("/identify", content=b"", headers={"Content-Type": "text/plain"})
    yield "list_galleries", client.get("/galleries", headers={"Authorization": "Bearer mg_a_b"})
    yield "delete_gallery", client.delete("/galleries/main")


def described(operation: str, status: int) -> dict[str, Any]:
    answer = OPERATIONS[operation]["responses"][str(status)]
    name = answer.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = DOCUMENT["components"]["responses"].get(name, answer)
    return found


def required_headers(answer: dict[str, Any]) -> set[str]:
    shared = DOCUMENT["components"]["headers"]
    headers = answer["headers"].items()
    whole = {name: shared.get(one.get("$ref", "").rpartition("/")[2], one) for name, one in headers}
    return {name.lower() for name, one in whole.items() if one.get("required")}


def test_an_answer_has_the_headers_that_are_described(
    told: list[tuple[str, httpx.Response]], client: Caller
) -> None:
    for operation, answer in (*told, *refusals(client)):
        document = described(operation, answer.status_code)
        sent = set(answer.headers) - NOT_OF_THE_API
        assert sent <= {name.lower() for name in document["headers"]}, operation
        assert required_headers(document) <= sent, operation
        assert HEADER.lower() in required_headers(document)


def test_where_a_rebuild_is_seen_is_described(told: list[tuple[str, httpx.Response]]) -> None:
    (begun,) = (answer for operation, answer in told if operation == "rebuild")
    assert "location" in begun.headers
    assert "location" in required_headers(described("rebuild", 202))


def test_the_examples_are_of_the_answers_that_are_given_today(
    told: list[tuple[str, httpx.Response]],
) -> None:
    answered = recorded(iter(told))
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            body = answer.get("content", {}).get("application/json")
            if body is not None:
                # Where this fails: python -m tests.answering > service/examples.json
                assert_alike(answered[name][status], body["example"], name)


def assert_alike(given: Any, shown: Any, where: str) -> None:
    """See that two bodies have the same fields, down to where one is a value or null."""
    if isinstance(given, dict) and isinstance(shown, dict):
        assert set(given) == set(shown), where
        for name in given:
            assert_alike(given[name], shown[name], f"{where}.{name}")
    elif isinstance(given, list) and isinstance(shown, list):
        assert_alike(*(body[0] if body else None for body in (given, shown)), where)
    else:
        assert None in (given, shown) or type(given) is type(shown), where
