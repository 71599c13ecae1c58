"""Every operation × every scope × own and foreign gallery; and keys, from making to revoking."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from gallery import (
    ApiKey,
    Galleries,
    Gallery,
    InvalidKey,
    KeyNotFound,
    KeyStore,
    TooManyKeys,
    parse_key,
)
from service import access
from service.access import SCOPES, GuardedRoute
from service.app import create_app
from service.errors import AuthenticationError, RateLimitedError, StartError
from service.keyring import FRESH_S, LOCAL, KeyRing, is_loopback
from service.serve import require_keys
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
GUARDED = [name for name, row in ROWS.items() if row.need != ANYBODY]
WALK = npy(walker(10))


class Keyed(NamedTuple):
    caller: Caller
    keys: Mapping[tuple[str, str], str]
    store: KeyStore


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
    encoder = FakeEncoder()
    gallery = Gallery.open(
        settings.data, model_id=encoder.facts.model_id, embedding_length=88, name=OWN
    )
    with closing(Galleries.open(settings.data)) as galleries:
        galleries.make(FOREIGN)
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as caller:
        yield Keyed(caller, keys, store)
    gallery.close()
    store.close()


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
    if row.need in (ANYBODY, ANY_KEY):
        assert status == 200
    elif row.need != scope:
        assert (status, code) == (403, "missing_scope")
    elif where == FOREIGN and name != "list_galleries":
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
    assert (twice.status_code, twice.json()["code"]) == (422, "invalid_field")
    data, files = {"gallery": FOREIGN}, {"sequence": ("x", WALK)}
    answer = keyed.caller.post("/identify", headers=headers, data=data, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert "?gallery=NAME" in answer.json()["detail"]


def test_what_is_open_to_all_says_nothing_of_another_gallery(keyed: Keyed) -> None:
    ready = keyed.caller.get(f"/readyz?gallery={FOREIGN}").json()
    assert ready["gallery"]["name"] == OWN


def test_the_list_shows_the_galleries_of_the_key(keyed: Keyed) -> None:
    for where in (OWN, FOREIGN):
        shown = keyed.caller.get("/galleries", headers=bearer(keyed.keys["read", where])).json()
        assert [one["name"] for one in shown["galleries"]] == [where]


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


def test_keys_are_kept_without_their_secrets(tmp_path: Path) -> None:
    store = KeyStore.open(tmp_path)
    key, text = store.create("camera", ["identify"], galleries=["main"], per_minute=9)
    parsed = parse_key(text)
    assert parsed is not None
    assert parsed[0] == key.key_id
    assert store.all() == (key,)
    store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert parsed[1].encode() not in content
    assert bytes.fromhex(parsed[1]) not in content
    assert key.key_id.encode() in content


def test_two_keys_of_a_name_may_live_for_a_change(tmp_path: Path) -> None:
    store = KeyStore.open(tmp_path)
    first, second = (store.create("camera", ["read"])[0] for _ in range(2))
    with pytest.raises(TooManyKeys, match=first.key_id):
        store.create("camera", ["read"])
    store.revoke(first.key_id)
    store.revoke(first.key_id)
    third, _ = store.create("camera", ["read"])
    now = datetime.now(UTC)
    live = {key.key_id for key in store.all() if key.is_live(now)}
    assert live == {second.key_id, third.key_id}
    with pytest.raises(KeyNotFound):
        store.revoke("0" * 12)
    store.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 65},
        {"scopes": []},
        {"galleries": []},
        {"per_minute": 0},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_key_that_would_be_of_no_use_is_not_made(tmp_path: Path, wrong: Any) -> None:
    store = KeyStore.open(tmp_path)
    with pytest.raises(InvalidKey, match="expected"):
        store.create(**{"name": "camera", "scopes": ["read"], **wrong})
    assert store.all() == ()
    store.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Keys:
    """A key ring on a real store, with a clock that stands still."""

    def __init__(self, folder: Path, *, open_without_keys: bool = False) -> None:
        self.store = KeyStore.open(folder)
        self.clock = Clock()
        self.reads = 0
        self.ring = KeyRing(self._read, open_without_keys=open_without_keys, clock=self.clock)

    def _read(self) -> tuple[ApiKey, ...]:
        self.reads += 1
        return self.store.all()

    def admit(self, key: str | None) -> Any:
        return asyncio.run(self.ring.admit(None if key is None else f"Bearer {key}"))


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    opened = Keys(tmp_path)
    yield opened
    opened.store.close()


def test_a_revoked_key_opens_nothing_two_seconds_later(keys: Keys) -> None:
    key, text = keys.store.create("camera", ["read"])
    assert keys.admit(text).key_id == key.key_id
    keys.store.revoke(key.key_id)
    keys.clock.now += FRESH_S
    with pytest.raises(AuthenticationError):
        keys.admit(text)


def test_an_expired_key_opens_nothing_at_once(keys: Keys) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=50)
    _, text = keys.store.create("camera", ["read"], expires_at=soon)
    asyncio.run(asyncio.sleep(0.1))
    with pytest.raises(AuthenticationError):
        keys.admit(text)


def test_a_flood_of_wrong_keys_does_not_reach_the_store(keys: Keys) -> None:
    keys.store.create("camera", ["read"])
    for number in range(50):
        with pytest.raises(AuthenticationError):
            keys.admit(f"mg_{number:012x}_{'0' * 64}")
    assert keys.reads == 1


def test_a_rate_is_kept_and_says_when_to_come_back(keys: Keys) -> None:
    _, text = keys.store.create("camera", ["read"], per_minute=30)
    _, other = keys.store.create("phone", ["read"], per_minute=30)
    for _ in range(30):
        keys.admit(text)
    with pytest.raises(RateLimitedError) as refused:
        keys.admit(text)
    assert refused.value.retry_after_s == 2
    keys.admit(other)
    keys.clock.now += 2
    keys.admit(text)
    with pytest.raises(RateLimitedError):
        keys.admit(text)


def test_a_rate_over_http_is_429_with_retry_after(keyed: Keyed) -> None:
    _, text = keyed.store.create("slow", ["read"], per_minute=1)
    asyncio.run(asyncio.sleep(FRESH_S + 0.1))
    assert keyed.caller.get("/subjects", headers=bearer(text)).status_code == 200
    refused = keyed.caller.get("/subjects", headers=bearer(text))
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_loopback_is_open_until_there_is_a_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path, open_without_keys=True)
    assert keys.admit(None) == LOCAL
    key, _ = keys.store.create("camera", ["read"])
    keys.store.revoke(key.key_id)
    keys.clock.now += FRESH_S
    with pytest.raises(AuthenticationError):
        keys.admit(None)
    keys.store.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_without_keys_it_listens_on_loopback_only_and_says_how(tmp_path: Path) -> None:
    require_keys(Settings(data=tmp_path))
    everywhere = Settings(data=tmp_path, host="0.0.0.0")
    with pytest.raises(StartError, match="metagait keys create"):
        require_keys(everywhere)
    store = KeyStore.open(tmp_path)
    key, _ = store.create("camera", ["read"])
    require_keys(everywhere)
    store.revoke(key.key_id)
    with pytest.raises(StartError, match=r"expected a live API key to listen on 0\.0\.0\.0"):
        require_keys(everywhere)
    store.close()


def test_the_first_key_is_written_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "first.key"
    settings = Settings(data=tmp_path, host="0.0.0.0", first_key_file=path)
    require_keys(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text().strip()
    keys = Keys(tmp_path)
    assert keys.admit(text).scopes == frozenset(SCOPES)
    path.unlink()
    require_keys(settings)
    assert not path.exists()
    keys.store.close()


def test_a_first_key_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "first.key"
    path.write_text("something else")
    with pytest.raises(StartError, match="a new file"):
        require_keys(Settings(data=tmp_path, host="0.0.0.0", first_key_file=path))
    keys = Keys(tmp_path)
    assert keys.store.all() == ()
    keys.store.close()
