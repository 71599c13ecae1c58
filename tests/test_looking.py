"""Finding people by a part of their id: whatever case, accents and signs, on both databases."""

import unicodedata
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import LargeBinary, Text, cast, update

from gallery import Consent, Gallery, InvalidLimit
from gallery.checks import SUBJECT_MAX_CHARACTERS
from gallery.database import Database
from gallery.looking import find_subjects, folded
from gallery.schema import subjects
from gallery.store import Store
from tests.caller import Caller
from tests.galleries import embedding, open_gallery

PEOPLE = (
    "100%",
    "1000",
    "Anna Müller",
    "a\\b",
    "a_b",
    "acb",
    "ÅSA",
    "İpek",
    "İlker ŞAHİN",
    "Μαρία",
    "महेश",
    "王小明",
    "김가을",
    "👣🚶 of 王",
)


@pytest.fixture
def people(location: str | Path) -> Iterator[Gallery]:
    with closing(open_gallery(location)) as opened:
        for seed, name in enumerate(PEOPLE):
            opened.enroll(unicodedata.normalize("NFC", name), embedding(seed, 8), silhouettes=None)
        yield opened


def names(gallery: Gallery, text: str, **options: object) -> list[str]:
    found = gallery.find_subjects(text, **options)  # type: ignore[arg-type]
    assert found.next is None
    return [one.subject for one in found.subjects]


def test_people_are_found_by_any_part_of_their_id(people: Gallery) -> None:
    for text, found in {
        "müller": ["Anna Müller"],
        "MULLER": ["Anna Müller"],
        "Mu\u0308ller": ["Anna Müller"],
        "a m": ["Anna Müller"],
        "asa": ["ÅSA"],
        "ipek": ["İpek"],
        "sahin": ["İlker ŞAHİN"],
        "ΜΑΡΊΑ": ["Μαρία"],
        "μαρια": ["Μαρία"],
        "王": ["王小明", "👣🚶 of 王"],
        "가": ["김가을"],
        "हे": ["महेश"],
        "🚶": ["👣🚶 of 王"],
        "bob": [],
    }.items():
        assert names(people, text) == found, text
    assert len(names(people, "")) == len(PEOPLE)


def test_signs_stand_for_themselves(people: Gallery) -> None:
    assert names(people, "%") == ["100%"]
    assert names(people, "_") == ["a_b"]
    assert names(people, "\\") == ["a\\b"]
    assert names(people, "'; DROP TABLE subjects; --") == names(people, "\0") == []


def test_a_page_goes_on_behind_the_one_before(people: Gallery) -> None:
    with pytest.raises(InvalidLimit):
        people.find_subjects("a", limit=0)
    every, seen, after = names(people, "a"), [], None
    assert len(every) > 4
    while True:
        found = people.find_subjects("a", limit=2, after=after)
        seen += [one.subject for one in found.subjects]
        if (after := found.next) is None:
            break
        assert after == seen[-1]
    assert seen == every


def test_a_page_compares_a_limited_number_of_ids(people: Gallery, location: str | Path) -> None:
    ordered = [one.subject for one in people.subjects()]
    with closing(Store.open(location)) as store:
        found = find_subjects(store, "bob", 5, None, most=4)
        assert (found.subjects, found.next) == ((), ordered[3])
        found = find_subjects(store, ordered[6], 5, found.next, most=4)
        assert [one.subject for one in found.subjects] == [ordered[6]]
        assert found.next == ordered[7]
        # Behind the last, or exactly up to it: there is nobody more, then or at the next page.
        assert find_subjects(store, "bob", 5, ordered[-3], most=4).next is None
        assert find_subjects(store, "bob", 5, ordered[-5], most=4).next == ordered[-1]
        assert find_subjects(store, "bob", 5, ordered[-1], most=4).next is None


def test_what_is_found_says_as_much_as_the_list(people: Gallery) -> None:
    people.enroll("acb", embedding(99, 8), silhouettes=None)
    every = {one.subject: one for one in people.subjects()}
    for one in people.find_subjects("c").subjects:
        assert one == every[one.subject]
    assert every["acb"].samples == 2
    past = Consent("contract", None, datetime(2020, 1, 1, tzinfo=UTC))
    people.set_consent("acb", past)
    assert names(people, "", expired=True) == names(people, "B", expired=True) == ["acb"]
    assert names(people, "müller", expired=True) == []


def test_one_whose_id_is_damaged_is_passed_and_found_as_it_is_shown(tmp_path: Path) -> None:
    with closing(open_gallery(tmp_path)) as gallery:
        for seed, name in enumerate(("anna", "ben", "bez")):
            gallery.enroll(name, embedding(seed, 8), silhouettes=None)
        with closing(Database(tmp_path)) as database, database.writing() as connection:
            damaged = cast(b"be\xff", LargeBinary).cast(Text)
            is_it = subjects.c.subject == "ben"
            connection.execute(update(subjects).where(is_it).values(subject=damaged))
        assert names(gallery, "\\XFF") == ["be\\xff"]
        with closing(Store.open(tmp_path)) as store:
            first = find_subjects(store, "be", 1, None)
            assert first.next == "bez"
            found = find_subjects(store, "be", 1, first.next)
            assert ([one.subject for one in found.subjects], found.next) == (["be\\xff"], None)


@given(st.text(), st.text())
def test_a_part_of_an_id_is_folded_to_a_part_of_the_folded_id(one: str, other: str) -> None:
    assert folded(one) + folded(other) == folded(one + other)


@given(st.text(max_size=SUBJECT_MAX_CHARACTERS), st.integers(0, 99), st.integers(0, 99))
def test_an_id_is_found_by_any_part_in_any_form(text: str, start: int, length: int) -> None:
    subject = unicodedata.normalize("NFC", text)
    part = subject[start : start + length]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, part)) in folded(subject)  # type: ignore[arg-type]
    assert folded(part.upper()) in folded(subject.upper())


def test_the_service_searches(client: Caller, gallery: Gallery) -> None:
    for number, name in enumerate(("Anna Müller", "Ben", "annika")):
        gallery.enroll(name, np.full(88, number, np.float32), silhouettes=None)

    def found(**query: str | int) -> tuple[list[str], str | None]:
        body = client.get("/subjects", params=query).json()
        return [one["subject"] for one in body["subjects"]], body["next"]

    assert found(search="ANN") == (["Anna Müller", "annika"], None)
    assert found(search="ann", limit=1) == (["Anna Müller"], "Anna Müller")
    assert found(search="ann", limit=1, after="Anna Müller") == (["annika"], None)
    assert found(search="zoe") == ([], None)
    assert found(search="\0") == ([], None)
    assert found(search="") == (["Anna Müller", "Ben", "annika"], None)
    assert found(search="n", expired="true") == ([], None)
    assert client.get("/subjects", params={"search": "x" * 513}).status_code == 422
    assert client.get("/subjects?search=a&search=b").status_code == 422
