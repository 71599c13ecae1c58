"""What cannot be read any more of a key, a consent, a job or a receipt spoils nothing else."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table, insert, update

from gallery import Gallery
from gallery.database import Database
from gallery.jobs import JobLog
from gallery.schema import api_keys, calibrations, consents, jobs, receipts
from gallery.store import Store
from metagait import main
from service.errors import AuthenticationError
from service.settings import Settings
from tests.caller import Caller
from tests.fakes import npy, walker
from tests.test_keys import FRESH_S, Keys

NO_MOMENTS = ["yesterday", "", "2026-03-01T08:00:00"]


def damage(location: Any, column: Column[Any], value: object) -> None:
    """Write something else into a column of every row."""
    assert isinstance(column.table, Table)
    with closing(Database(location)) as database, database.writing() as connection:
        connection.execute(update(column.table).values({column: value}))


@pytest.mark.parametrize(
    ("column", "value"),
    [(api_keys.c.created_at, "yesterday"), (api_keys.c.expires_at, ""),
     (api_keys.c.expires_at, "2026-03-01T08:00:00"), (api_keys.c.revoked_at, "\\xff"),
     (api_keys.c.scopes, "{cut"), (api_keys.c.scopes, "3"), (api_keys.c.galleries, "[1]")],
)  # fmt: skip
def test_a_damaged_key_opens_nothing_and_keeps_nobody_else_out(
    tmp_path: Path,
    column: Column[Any],
    value: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = Keys(tmp_path)
    damaged, lost = keys.store.create("camera", ["read"])
    damage(tmp_path, column, value)
    _, text = keys.store.create("phone", ["read"])
    for _ in range(2):
        assert keys.admit(text).name == "phone"
        with pytest.raises(AuthenticationError):
            keys.admit(lost)
        keys.clock.now += FRESH_S
    told = [record.getMessage() for record in caplog.records]
    assert [damaged.key_id in one for one in told] == [True]
    assert main(["keys", "list", "--data", str(tmp_path)]) == 0
    assert f"{damaged.key_id}  damaged camera" in capsys.readouterr().out
    keys.store.revoke(damaged.key_id)
    keys.store.close()


def test_a_damaged_digest_is_of_no_secret(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    _, text = keys.store.create("camera", ["read"])
    damage(tmp_path, api_keys.c.digest, "é" * 64)
    with pytest.raises(AuthenticationError):
        keys.admit(text)
    keys.store.close()


@pytest.mark.parametrize("moment", NO_MOMENTS)
def test_a_job_is_shown_without_a_moment_that_is_lost(
    client: Caller, settings: Settings, moment: str
) -> None:
    with closing(Store.open(settings.data)) as store:
        job_id = JobLog(store).add("fake").job_id
    for column in (jobs.c.created_at, jobs.c.updated_at):
        damage(settings.data, column, moment)
    for shown in (client.get(f"/jobs/{job_id}").json(), client.get("/jobs").json()["jobs"][0]):
        assert (shown["job_id"], shown["created_at"], shown["updated_at"]) == (job_id, None, None)
    assert client.delete(f"/jobs/{job_id}").json()["state"] == "cancelled"


@pytest.mark.parametrize("moment", NO_MOMENTS)
def test_a_consent_whose_end_is_lost_is_marked(
    client: Caller, settings: Settings, moment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"basis": "consent", "expires": "2030-01-01T00:00:00Z"}
    form = {"subject": "ada", "consent": json.dumps(words)}
    files = {"sequence": ("w", npy(walker(14)))}
    assert client.post("/enroll", data=form, files=files).status_code == 201
    assert client.put("/subjects/ada/consent", json=words).status_code == 200
    assert client.get("/subjects/ada").json()["damaged"] == []
    for column in (consents.c.expires, consents.c.recorded_at):
        damage(settings.data, column, moment)
    shown = client.get("/subjects/ada").json()
    for one in (shown, shown["samples"][0]):
        assert one["damaged"] == ["consent"]
        assert one["consent"] == {"basis": "consent", "reference": None, "expires": None}
    again = client.post("/enroll", data={"subject": "ada"}, files=files)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert main(["consent", "--data", str(settings.data)]) == 0
    assert {line.split("\t")[0] for line in capsys.readouterr().out.splitlines()} == {"damaged"}
    assert client.put("/subjects/ada/consent", json=words).status_code == 200
    assert client.get("/subjects/ada").json()["damaged"] == []


def no_json(_body: str) -> str:
    return "{cut"


def no_object(_body: str) -> str:
    return "[1]"


def lost_moment(body: str) -> str:
    return json.dumps({**json.loads(body), "erased_at": "yesterday"})


def lost_proof(body: str) -> str:
    return json.dumps({**json.loads(body), "proof": {"checked_at": "2026-03-01"}})


@pytest.mark.parametrize("damaged", [no_json, no_object, lost_moment, lost_proof])
def test_a_receipt_that_is_lost_says_so(
    client: Caller, settings: Settings, damaged: Callable[[str], str]
) -> None:
    files = {"sequence": ("w", npy(walker(14)))}
    client.post("/enroll", data={"subject": "ada"}, files=files)
    receipt = client.delete("/subjects/ada").json()["receipt"]
    damage(settings.data, receipts.c.body, damaged(json.dumps(receipt)))
    answer = client.get(f"/receipts/{receipt['receipt_id']}")
    assert (answer.status_code, answer.json()["code"]) == (500, "receipt_damaged")
    assert receipt["receipt_id"] in answer.json()["detail"]


@pytest.mark.parametrize("body", ["{cut", "[1]", "{}", '{"created_at": "yesterday"}'])
def test_a_calibration_that_is_lost_does_not_count(
    client: Caller, settings: Settings, gallery: Gallery, body: str
) -> None:
    with closing(Database(settings.data)) as database, database.writing() as connection:
        row = {"generation": gallery.status().generation, "created_at": "x", "body": body}
        connection.execute(insert(calibrations).values(row))
    files = {"sequence": ("w", npy(walker(14)))}
    assert client.post("/enroll", data={"subject": "ada"}, files=files).status_code == 201
    found = client.post("/identify", files=files)
    assert (found.status_code, found.json()["threshold"]["basis"]) == (200, "model")
    assert client.get("/galleries/main").json()["calibration"] is None
