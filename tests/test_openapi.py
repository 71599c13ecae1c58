"""The OpenAPI document: the stored one equals the app's, and it leaves nothing undescribed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from service.app import create_app
from service.openapi import document
from service.problems import KINDS, MEDIA_TYPE
from service.settings import Settings
from tests.caller import Caller

DOCS = Path(__file__).parent.parent / "docs"
DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def resolved(response: dict[str, Any]) -> dict[str, Any]:
    shared: dict[str, dict[str, Any]] = DOCUMENT["components"]["responses"]
    return shared.get(response.get("$ref", "").rpartition("/")[2], response)


def test_the_stored_document_is_the_apps() -> None:
    stored = (DOCS / "openapi.json").read_text(encoding="utf-8")
    assert stored == document(), "run `python -m service.openapi > docs/openapi.json`"


@pytest.mark.parametrize(("name", "operation"), list(operations()))
def test_an_operation_is_described_whole(name: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"]
    assert len(operation["tags"]) == 1
    assert len(operation["description"]) > 20
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), (name, parameter["name"])
    for status, answer in operation["responses"].items():
        response = resolved(answer)
        assert len(response["description"]) > 15
        assert response["description"] != "Successful Response"  # FastAPI's own
        assert response["content"], status
        if int(status) >= 400:
            assert list(response["content"]) == [MEDIA_TYPE]
            assert response["content"][MEDIA_TYPE]["examples"]


def test_every_field_of_a_body_is_explained() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        for field, described in schema["properties"].items():
            # A reference is explained where it leads to, and a constant needs no words.
            assert {"description", "$ref", "const"} & set(described), f"{name}.{field}"


def test_every_operation_has_a_title_of_ours_and_a_group_that_is_explained() -> None:
    groups = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    for name, operation in operations():
        assert operation["summary"] != operation["operationId"].replace("_", " ").title(), name
        assert set(operation["tags"]) <= groups, name


def examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every example below a node, with the schema that it is one of."""
    if isinstance(node, dict):
        listed = node.get("examples", [])
        if isinstance(listed, list):
            yield from ((node, example) for example in listed)
        elif "schema" in node:
            yield from ((node["schema"], told["value"]) for told in listed.values())
        if "example" in node and ("properties" in node or "schema" in node):
            yield node.get("schema", node), node["example"]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from examples(child)


def test_every_example_is_what_its_schema_describes() -> None:
    found = list(examples(DOCUMENT))
    assert len(found) > 200
    for schema, example in found:
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


def answers_in_json() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Operation id, status and what is said of it, for every answer in JSON that is no problem."""
    for _, operation in operations():
        for status, response in operation["responses"].items():
            if int(status) < 400 and "application/json" in response["content"]:
                yield operation["operationId"], status, response["content"]["application/json"]


def test_every_answer_in_json_has_an_example_of_its_whole_body() -> None:
    found = list(answers_in_json())
    assert len(found) > 25
    for operation, status, described in found:
        assert described.get("example"), f"{operation} {status}"
        schema = {**described["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(
            described["example"]
        )


def test_every_status_of_a_problem_has_an_example_of_each_code_that_it_may_be() -> None:
    shared = DOCUMENT["components"]["responses"]
    for _, operation in operations():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                shown = resolved(response)["content"][MEDIA_TYPE]["examples"]
                assert {told["value"]["status"] for told in shown.values()} == {int(status)}
    shown = {code for one in shared.values() for code in one["content"][MEDIA_TYPE]["examples"]}
    assert shown == {kind.code for kind in KINDS.values()} | {"invalid_request"}


def test_a_status_of_busy_or_too_often_says_when_to_come_back() -> None:
    for _, operation in operations():
        for status in {"429", "503"} & set(operation["responses"]):
            assert "Retry-After" in resolved(operation["responses"][status])["headers"]


def test_the_page_of_problems_lists_every_code_with_its_status() -> None:
    page = (DOCS / "problems.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| \S", page, re.MULTILINE)
    expected = {(kind.code, str(kind.status)) for kind in KINDS.values()}
    assert len(rows) == len(set(rows))
    assert set(rows) == expected | {("invalid_request", "422")}


def test_the_page_for_people_names_every_operation_and_loads_nothing(client: Caller) -> None:
    page: httpx.Response = client.get("/docs")
    assert "script" not in page.text
    assert not re.search(r"(src|href)=\"(?!/)", page.text)
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for name, _ in operations():
        method, path = name.split()
        assert f"<code>{method.upper()} {path}</code>" in page.text
        assert f">{method.upper()} {path}</a>" in page.text
    assert "<strong>Distances</strong> are Euclidean" in page.text
    sections = set(re.findall(r'<section id="(\w+)">', page.text))
    assert set(re.findall(r'href="/docs#(\w+)"', page.text)) == sections
    assert page.text.count('<pre tabindex="0">{') == len(list(answers_in_json()))
    assert json.loads(client.get("/openapi.json").text) == DOCUMENT
