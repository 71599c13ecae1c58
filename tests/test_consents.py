"""Consents are listed in the order in which they expire, on either database."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from gallery import Consent
from gallery.listing import consents_in
from gallery.store import Store
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
