"""Receipts, consents and the audit log over HTTP, and a store that is full or cannot be written."""

import json

import pytest
from sqlalchemy import event

from gallery import audit
from gallery.store import Store
from tests.fakes import npy, walker


def enroll(client, subject, build, **fields):
    files = {"sequence": ("walk.npy", npy(walker(build)))}
    return client.post("/enroll", data={"subject": subject, **fields}, files=files)


def identify(client, build):
    return client.post("/identify", files={"sequence": ("walk.npy", npy(walker(build)))})


def log_of(gallery):
    gallery._searches.flush()
    with gallery._store.database.reading() as connection:
        audit.verify(connection, "main")
        return list(audit.export(connection, "main"))


def test_an_erasure_answers_with_a_receipt_that_stays_readable(client):
    # A name that no hexadecimal id can hold by chance.
    enroll(client, "olga", 14)
    enroll(client, "ben", 25)
    answer = client.delete("/subjects/olga")
    assert answer.status_code == 200
    erased = answer.json()
    assert (erased["subject"], erased["samples"], len(erased["salt"])) == ("olga", 1, 32)
    proof = erased["receipt"]["proof"]
    assert (proof["rows"], proof["found"], proof["indexed"], proof["searches"]) == (0, 0, 0, 1)
    again = client.get(f"/receipts/{erased['receipt']['receipt_id']}")
    assert again.json() == erased["receipt"]
    assert "olga" not in again.text
    missing = client.get("/receipts/0123")
    assert (missing.status_code, missing.json()["code"]) == (404, "receipt_not_found")


def test_two_spellings_of_a_name_are_one_subject(client):
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    assert enroll(client, decomposed, 10).json()["subject"] == composed
    again = enroll(client, composed, 10)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    listed = client.get("/subjects").json()["subjects"]
    assert [one["subject"] for one in listed] == [composed]
    assert client.delete(f"/subjects/{decomposed}").status_code == 200
    assert client.get("/subjects").json()["subjects"] == []


def test_a_consent_that_comes_with_a_known_walk_takes_the_place_of_its_own(client, gallery):
    first, second = '{"basis": "study 4"}', '{"basis": "study 5", "reference": "17"}'
    enroll(client, "ada", 14, consent=first)
    again = enroll(client, "ada", 14, consent=second)
    assert again.json()["duplicate"]
    (sample,) = client.get("/subjects/ada").json()["samples"]
    assert sample["consent"]["basis"] == "study 5"
    enroll(client, "ada", 14)
    (sample,) = client.get("/subjects/ada").json()["samples"]
    assert sample["consent"]["basis"] == "study 5"
    recorded = [row for row in log_of(gallery) if row["action"] == "consent"]
    assert len(recorded) == 1


def test_consents_are_recorded_shown_and_listed_when_they_expire(client):
    past = json.dumps({"basis": "study 4", "expires": "2020-01-01T00:00:00Z"})
    moment = "2026-03-04T05:06:07+01:00"
    assert enroll(client, "ada", 14, consent=past, captured_at=moment).status_code == 201
    enroll(client, "ben", 25)
    future = {"basis": "contract", "reference": "17", "expires": "2100-01-01T00:00:00Z"}
    assert client.request("PUT", "/subjects/ben/consent", json=future).status_code == 200
    (sample,) = client.get("/subjects/ada").json()["samples"]
    assert sample["captured_at"].startswith("2026-03-04T04:06:07")
    assert sample["consent"]["basis"] == "study 4"
    assert client.get("/subjects/ben").json()["consent"]["reference"] == "17"
    listed = client.get("/subjects", params={"expired": True}).json()["subjects"]
    assert [one["subject"] for one in listed] == ["ada"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("captured_at", "yesterday", "invalid_field"),
        ("captured_at", "2026-03-04T05:06:07", "invalid_capture"),
        ("consent", "yes", "invalid_field"),
        ("consent", '{"reference": "1"}', "invalid_field"),
        ("consent", '{"basis": "x", "expires": "2026-03-04T05:06:07"}', "invalid_consent"),
        ("consent", '{"basis": "x", "expires": 1770000000}', "invalid_field"),
    ],
)
def test_a_consent_or_a_time_that_says_nothing_certain_is_refused(client, field, value, code):
    answer = enroll(client, "ada", 14, **{field: value})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert client.get("/subjects").json()["subjects"] == []


def test_a_consent_of_nobody_is_not_recorded(client):
    answer = client.request("PUT", "/subjects/ada/consent", json={"basis": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "subject_not_found")


def test_everything_that_is_asked_is_logged(client, gallery):
    # A name that no hexadecimal id can hold by chance.
    enroll(client, "olga", 14)
    identify(client, 14)
    files = {"sequence": ("walk.npy", npy(walker(30)))}
    client.post("/verify", data={"subject": "olga"}, files=files)
    client.delete("/subjects/olga")
    rows = log_of(gallery)
    assert {row["action"] for row in rows} == {"enrol", "identify", "verify", "erase"}
    assert {row["actor"] for row in rows} == {"local"}
    assert next(row for row in rows if row["action"] == "identify")["outcome"] == "match"
    assert "olga" not in str(rows)


def test_info_says_what_the_gallery_keeps(client, gallery):
    enroll(client, "ada", 14)
    gallery.change_settings({"retention": "embeddings-only"})
    enroll(client, "ben", 25)
    kept = client.get("/info").json()["gallery"]
    assert (kept["retention"], kept["without_silhouettes"]) == ("embeddings-only", 2)
    assert (kept["encrypted"], kept["plain_subjects"]) == (False, 2)
    assert identify(client, 14).json()["candidates"][0]["subject"] == "ada"


@pytest.mark.parametrize(
    ("pragma", "undo", "status"),
    [
        ("PRAGMA max_page_count=1", "PRAGMA max_page_count=1073741823", 507),
        ("PRAGMA query_only=ON", "PRAGMA query_only=OFF", 503),
    ],
)
def test_a_full_or_read_only_store_is_a_problem_and_the_service_lives(
    client, gallery, pragma, undo, status
):
    state = {"pragma": "PRAGMA user_version"}

    @event.listens_for(gallery._store.database.engine, "checkout")
    def _limit(connection, _record, _proxy):
        connection.execute(state["pragma"]).close()

    assert enroll(client, "ada", 14).status_code == 201
    state["pragma"] = pragma
    refused = enroll(client, "ben", 25, metadata=json.dumps({"x": "y" * 12_000}))
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    assert client.get("/livez").status_code == 200
    assert identify(client, 14).json()["candidates"][0]["subject"] == "ada"
    assert [one["subject"] for one in client.get("/subjects").json()["subjects"]] == ["ada"]
    state["pragma"] = undo
    assert client.get("/readyz").status_code == 200
    assert enroll(client, "ben", 25).status_code == 201
    store = Store.open(folder_of(gallery))
    with store.database.reading() as connection:
        counts = store.counts(connection, store.head().generation)
    store.close()
    assert (counts.subjects, counts.samples, counts.embedded) == (2, 2, 2)


def folder_of(gallery):
    return gallery._store.database.engine.url.database.rsplit("/", maxsplit=1)[0]
