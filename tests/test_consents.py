"""Consents: listed in the order in which they end, and refused where their end is in doubt."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from gallery import Consent
from gallery.listing import consents_in
from gallery.store import Store
from tests.caller import Caller
from tests.fakes import npy, walker
from tests.galleries import embedding, open_gallery, walk


def test_those_that_expire_first_come_first_and_those_that_never_do_last(location: Any) -> None:
    years = {"ada": None, "ben": 2031, "cem": 2030, "dan": None}
    with closing(open_gallery(location)) as gallery:
        for seed, (who, year) in enumerate(years.items()):
            gallery.enroll(who, embedding(seed), silhouettes=walk(seed))
            expires = None if year is None else datetime(year, 1, 1, tzinfo=UTC)
            gallery.set_consent(who, Consent("consent", expires=expires))
    with closing(Store.open(location)) as store:
        listed = [entry.subject for entry in consents_in(store, expired=False)]
    assert listed == ["cem", "ben", "ada", "dan"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"expiry": "2031-01-01T00:00:00Z"},
        {"expires": "20310101"},
        {"expires": "1767225600"},
        {"expires": 1767225600},
        {"expires": "2031-01-01"},
        {"expires": "soon"},
    ],
)
def test_a_consent_whose_end_is_in_doubt_is_not_recorded(client: Caller, wrong: Any) -> None:
    consent = {"basis": "consent", **wrong}
    body = {"sequence": ("w", npy(walker(10)))}
    told = client.post(
        "/enroll", data={"subject": "ann", "consent": json.dumps(consent)}, files=body
    )
    assert told.status_code == 422
    assert client.get("/subjects").json()["subjects"] == []
    assert client.post("/enroll", data={"subject": "ann"}, files=body).status_code == 201
    assert client.put("/subjects/ann/consent", json=consent).status_code == 422
    assert client.get("/subjects/ann").json()["consent"] is None


@pytest.mark.parametrize(
    "expires", ["2031-01-01T00:00:00Z", "2031-01-01t01:00:00+01:00", "20310101T000000Z"]
)
def test_an_end_may_be_written_in_any_form_of_iso_8601(client: Caller, expires: str) -> None:
    body = {"sequence": ("w", npy(walker(10)))}
    consent = json.dumps({"basis": "consent", "expires": expires})
    enrolled = client.post("/enroll", data={"subject": "ann", "consent": consent}, files=body)
    assert enrolled.status_code == 201, enrolled.text
    (sample,) = client.get("/subjects/ann").json()["samples"]
    assert sample["consent"]["expires"] == "2031-01-01T00:00:00Z"
