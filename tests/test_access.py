"""Every operation × every scope × own and foreign gallery."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from gallery import Galleries, Gallery, KeyStore
from service import access
from service.access import SCOPES, GuardedRoute
from service.app import create_app
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, npy, walker

OWN, FOREIGN = "main", "elsewhere"
ANYBODY, ANY_KEY = "anybody", "any key"


class Row(NamedTuple):
    """How an operation is called, and which scope it must ask for."""

    method: str
    url: str
    need: str
    fields: Mapping[str, str] | None = None
    """Form fields of an operation that takes a walk; None for one that takes none."""
    json: Mapping[str, Any] | None = None


# Every operation of the service stands here, or `test_every_operation_has_a_row` fails.
ROWS = {
    "livez": Row("GET", "/livez", ANYBODY),
    "readyz": Row("GET", "/readyz", ANYBODY),
    "page": Row("GET", "/", ANYBODY),
    "docs": Row("GET", "/docs", ANYBODY),
    "info": Row("GET", "/info", ANY_KEY),
    "metrics": Row("GET", "/metrics", ANY_KEY),
    "enroll": Row("POST", "/enroll", "enroll", {"subject": "ann"}),
    "identify": Row("POST", "/identify", "identify", {}),
    "identify_batch": Row("POST", "/identify/batch", "identify", {}),
    "verify": Row("POST", "/verify", "identify", {"subject": "ann"}),
    "preview": Row("POST", "/preview", "identify", {}),
    "list_subjects": Row("GET", "/subjects", "read"),
    "read_subject": Row("GET", "/subjects/ann", "read"),
    "read_walk": Row("GET", "/samples/5f0c/walk", "read"),
    "read_receipt": Row("GET", "/receipts/5f0c", "read"),
    "record_consent": Row("PUT", "/subjects/ann/consent", "enroll", json={"basis": "c"}),
    "erase_subject": Row("DELETE", "/subjects/nobody", "erase"),
    "erase_sample": Row("DELETE", "/samples/5f0c", "erase"),
    "list_galleries": Row("GET", "/galleries", "read"),
    "make_gallery": Row("PUT", "/galleries/main", "admin"),
    "delete_gallery": Row("DELETE", "/galleries/main", "admin"),
    "read_gallery": Row("GET", "/galleries/main", "read"),
    "change_gallery": Row("PATCH", "/galleries/main", "admin", json={}),
    "rebuild": Row("POST", "/rebuild", "admin", json={"model": "unheard-000000000000"}),
    "list_jobs": Row("GET", "/jobs", "admin"),
    "read_job": Row("GET", "/jobs/5f0c", "admin"),
    "cancel_job": Row("DELETE", "/jobs/5f0c", "admin"),
    "calibrate": Row("POST", "/calibrate", "admin", json={"target_fpir": 0.01}),
}
OF_NO_GALLERY = {"list_galleries", "metrics"}
"""Operations that say of each gallery only what the key is for."""
GUARDED = [name for name, row in ROWS.items() if row.need != ANYBODY]
WALK = npy(walker(10))


class Keyed(NamedTuple):
    caller: Caller
    keys: Mapping[tuple[str, str], str]
    slow: str
    """A key that may read once a minute."""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A service with a key for every scope, in its own gallery and in another."""
    settings = Settings(data=tmp_path_factory.mktemp("keyed"), host="0.0.0.0", max_upload_mb=2)
    store = KeyStore.open(settings.data)
    keys = {
        (scope, where): store.create(f"{scope} in {where}", [scope], galleries=[where])[1]
        for scope in SCOPES
        for where in (OWN, FOREIGN)
    }
    _, slow = store.create("slow", ["read"], per_minute=1)
    store.close()
    encoder = FakeEncoder()
    gallery = Gallery.open(
        settings.data, model_id=encoder.facts.model_id, embedding_length=88, name=OWN
    )
    with closing(Galleries.open(settings.data)) as galleries:
        galleries.make(FOREIGN)
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        yield Keyed(caller, keys, slow)
    gallery.close()


def call(caller: Caller, row: Row, key: str | None) -> tuple[int, str]:
    """Call an operation; returns the status, and the code of a problem."""
    options: dict[str, Any] = {} if key is None else {"headers": bearer(key)}
    if row.fields is not None:
        options |= {"data": row.fields, "files": {"sequence": ("x", WALK)}}
    if row.json is not None:
        options["json"] = row.json
    response = caller.request(row.method, row.url, **options)
    is_problem = response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"] if is_problem else ""


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def operations(app: FastAPI) -> dict[str, APIRoute]:
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    return {access.operation_of(r): r for r in routes if isinstance(r, APIRoute)}


def test_every_operation_has_a_row() -> None:
    found = operations(create_app(Settings()))
    assert set(found) == set(ROWS) == set(access.ACCESS)
    for name, route in found.items():
        assert ROWS[name].method in route.methods


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("where", [OWN, FOREIGN])
@pytest.mark.parametrize("name", ROWS)
def test_a_key_opens_what_it_was_made_for(keyed: Keyed, name: str, where: str, scope: str) -> None:
    row = ROWS[name]
    status, code = call(keyed.caller, row, keyed.keys[scope, where])
    if row.need == ANYBODY:
        assert status == 200
    elif row.need not in (ANY_KEY, scope):
        assert (status, code) == (403, "missing_scope")
    elif where == FOREIGN and name not in OF_NO_GALLERY:
        assert (status, code) == (403, "foreign_gallery")
    else:
        assert_allowed(status, code)


def assert_allowed(status: int, code: str) -> None:
    assert status in (200, 201, 404, 409)
    assert code in (
        "",
        "subject_not_found",
        "sample_not_found",
        "calibration_refused",
        "receipt_not_found",
        "unknown_model",
        "job_not_found",
        "own_gallery",
    )


NAMING = [name for name, row in ROWS.items() if "/galleries" not in row.url]
"""Operations that take their gallery from the query, or take none."""


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("where", [OWN, FOREIGN])
@pytest.mark.parametrize("name", NAMING)
def test_a_key_opens_the_galleries_that_it_was_made_for(
    keyed: Keyed, name: str, where: str, scope: str
) -> None:
    row = ROWS[name]._replace(url=f"{ROWS[name].url}?gallery={FOREIGN}")
    status, code = call(keyed.caller, row, keyed.keys[scope, where])
    if row.need == ANYBODY:
        assert status == 200
    elif row.need not in (ANY_KEY, scope):
        assert (status, code) == (403, "missing_scope")
    elif where == OWN:
        assert (status, code) == (403, "foreign_gallery")
    else:
        assert_allowed(status, code)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("where", [OWN, FOREIGN])
@pytest.mark.parametrize("name", ["read_gallery", "change_gallery", "make_gallery"])
def test_a_key_opens_the_gallery_in_the_path(
    keyed: Keyed, name: str, where: str, scope: str
) -> None:
    # The path counts, whatever the query says beside it.
    url = f"{ROWS[name].url.replace(OWN, FOREIGN)}?gallery={where}"
    status, code = call(keyed.caller, ROWS[name]._replace(url=url), keyed.keys[scope, where])
    if ROWS[name].need != scope:
        assert (status, code) == (403, "missing_scope")
    elif where == OWN:
        assert (status, code) == (403, "foreign_gallery")
    else:
        assert_allowed(status, code)


def test_nobody_names_two_galleries_or_one_in_the_body(keyed: Keyed) -> None:
    headers = bearer(keyed.keys["identify", OWN])
    twice = keyed.caller.get(f"/info?gallery={OWN}&gallery={FOREIGN}", headers=headers)
    assert (twice.status_code, twice.json()["code"]) == (422, "invalid_request")
    data, files = {"gallery": FOREIGN}, {"sequence": ("x", WALK)}
    answer = keyed.caller.post("/identify", headers=headers, data=data, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert "?gallery=NAME" in answer.json()["detail"]


def test_what_is_open_to_all_says_nothing_of_any_gallery(keyed: Keyed) -> None:
    def told(query: str = "") -> list[bytes]:
        urls = [row.url + query for row in ROWS.values() if row.need == ANYBODY]
        return [keyed.caller.get(url).content for url in urls]

    before = told()
    assert told(f"?gallery={FOREIGN}") == before
    newcomer = {"data": {"subject": "bob"}, "files": {"sequence": ("x", npy(walker(23)))}}
    enrolled = keyed.caller.post("/enroll", headers=bearer(keyed.keys["enroll", OWN]), **newcomer)
    assert enrolled.status_code == 201
    assert told() == before


def test_the_list_shows_the_galleries_of_the_key(keyed: Keyed) -> None:
    for where in (OWN, FOREIGN):
        shown = keyed.caller.get("/galleries", headers=bearer(keyed.keys["read", where])).json()
        assert [one["name"] for one in shown["galleries"]] == [where]
        assert shown["own"] == (OWN if where == OWN else None)


WRONG = {
    "none": None,
    "no key": "hello",
    "unknown": f"mg_{'0' * 12}_{'0' * 64}",
    "a secret alone": "0" * 64,
    "two": f"mg_{'0' * 12}_{'0' * 64} mg_{'0' * 12}_{'0' * 64}",
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ROWS)
def test_without_a_live_key_only_the_public_answers(keyed: Keyed, name: str, wrong: str) -> None:
    status, code = call(keyed.caller, ROWS[name], WRONG[wrong])
    if name in GUARDED:
        assert (status, code) == (401, "unauthenticated")
    else:
        assert status == 200


def test_another_keys_secret_opens_nothing(keyed: Keyed) -> None:
    one, other = (keyed.keys[scope, OWN] for scope in ("read", "identify"))
    mixed = f"{one.rsplit('_', 1)[0]}_{other.rsplit('_', 1)[1]}"
    assert call(keyed.caller, ROWS["list_subjects"], mixed) == (401, "unauthenticated")


def test_a_key_counts_only_in_its_header(keyed: Keyed) -> None:
    key = keyed.keys["read", OWN]
    assert keyed.caller.get("/subjects", params={"key": key}).status_code == 401
    assert keyed.caller.get("/subjects", headers={"cookie": f"key={key}"}).status_code == 401
    basic = keyed.caller.get("/subjects", headers={"authorization": f"Basic {key}"})
    assert basic.status_code == 401
    assert basic.headers["www-authenticate"].startswith("Bearer")


def test_two_keys_are_refused_whatever_they_are_good_for(keyed: Keyed) -> None:
    good, other = (f"Bearer {keyed.keys['read', where]}" for where in (OWN, FOREIGN))
    for second in (good, other, "Bearer mg_a_b"):
        headers = [("Authorization", good), ("Authorization", second)]
        answer = keyed.caller.get("/subjects", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        (fault,) = answer.json()["errors"]
        assert fault["where"] == "header.authorization"
        assert "mg_" not in answer.text


def test_who_may_not_is_refused_before_the_body_is_read(keyed: Keyed) -> None:
    read = 0

    async def body() -> Any:
        nonlocal read
        read += 1
        yield b"x" * 1000

    for headers in ({}, bearer(keyed.keys["read", OWN])):
        kind = {"content-type": "multipart/form-data; boundary=b", **headers}
        response = keyed.caller.post("/identify", content=body(), headers=kind)
        assert response.status_code in (401, 403)
    assert read == 0


def test_a_json_body_is_bounded(keyed: Keyed) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 10_000

    headers = {"content-type": "application/json", **bearer(keyed.keys["admin", OWN])}
    response = keyed.caller.post("/calibrate", content=endless(), headers=headers)
    assert response.status_code == 413, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_the_openapi_document_says_which_key_is_needed(keyed: Keyed) -> None:
    document = keyed.caller.get("/openapi.json").json()
    for path in document["paths"].values():
        for operation in path.values():
            need = ROWS[operation["operationId"]].need
            roles = [] if need == ANY_KEY else [need]
            assert operation["security"] == ([] if need == ANYBODY else [{"key": roles}])
            refusals = {"401", "403", "429"} & set(operation["responses"])
            assert len(refusals) == (0 if need == ANYBODY else 3)


def test_a_route_without_a_row_or_a_guard_keeps_the_service_from_starting() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(LookupError, match="a row in ACCESS"):
        router.get("/x", operation_id="unheard_of")(lambda: None)
    app = FastAPI()
    app.get("/x", operation_id="livez")(lambda: None)
    with pytest.raises(LookupError, match="GuardedRoute"):
        access.check_guarded(app)


def test_a_rate_over_http_is_429_with_retry_after(keyed: Keyed) -> None:
    headers = bearer(keyed.slow)
    assert keyed.caller.get("/subjects", headers=headers).status_code == 200
    refused = keyed.caller.get("/subjects", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
