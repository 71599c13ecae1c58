"""What cannot be read any more of one sample is named, and keeps nothing else from working."""

from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import LargeBinary, Text, cast, select, update

from gallery import Gallery, MasterKey, RebuildFailed, SampleDamaged, StoreUnavailable
from gallery.ciphers import Vault
from gallery.database import Database
from gallery.index import ExactIndex
from gallery.master_keys import rotate
from gallery.rebuild import rebuild
from gallery.schema import embeddings, samples, silhouettes, subjects
from gallery.self_search import check_self_search
from gallery.store import Store
from metagait import main
from tests.fakes import npy, walker
from tests.galleries import LENGTH, embedding, open_gallery, walk
from tests.rebuilding import new_encoder

KEY, OTHER = MasterKey(bytes(range(32))), MasterKey(bytes(range(1, 33)))
NAN = np.full(LENGTH, np.nan, "<f4").tobytes()
BEYOND = np.full(LENGTH, 1e9, "<f4").tobytes()


def filled(location, key=None):
    """A gallery of anna's two walks, ben's and cem's; gives the ids of their samples."""
    gallery = open_gallery(location, master_key=key)
    ids = [
        gallery.enroll(who, embedding(seed), silhouettes=walk(seed)).sample.sample_id
        for seed, who in enumerate(("anna", "anna", "ben", "cem"))
    ]
    gallery.close()
    return ids


def damage(location, column, sample_id, value):
    """Write something else over what is stored of a sample."""
    with closing(Database(location)) as database, database.writing() as connection:
        row = connection.scalar(select(samples.c.id).where(samples.c.sample_id == sample_id))
        table = column.table
        key = table.c.id if table is samples else table.c.sample
        connection.execute(update(table).where(key == row).values({column: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [(None, b"short"), (None, NAN), (None, BEYOND), (KEY, b"not what was sealed")],
)
def test_a_start_goes_on_without_a_damaged_embedding_and_says_which(location, key, value, caplog):
    _, second, third, _ = filled(location, key)
    for sample_id in (second, third):
        damage(location, embeddings.c.vector, sample_id, value)
    gallery = open_gallery(location, master_key=key)
    assert [one.subject for one in gallery.identify(embedding(0))] == ["anna", "cem"]
    assert (gallery.status().damaged, gallery.status().in_sync) == (2, True)
    assert (gallery.size().subjects, gallery.size().samples) == (2, 2)
    said = [record.getMessage() for record in caplog.records]
    assert [(second in one, third in one) for one in said] == [(True, False), (False, True)]
    assert all("erase that sample by its id" in one for one in said)
    assert not any(name in one for one in said for name in ("anna", "ben"))
    gallery.erase_sample(third)
    assert gallery.erase_subject("anna").receipt.proof.rows == 0
    assert (gallery.status().damaged, gallery.status().in_sync) == (0, True)
    gallery.enroll("ben", embedding(2), silhouettes=walk(2))
    assert gallery.identify(embedding(2))[0].subject == "ben"
    gallery.close()


def test_a_subject_is_compared_by_what_can_be_read_of_it(location):
    first, second, _, _ = filled(location)
    damage(location, embeddings.c.vector, second, b"short")
    gallery = open_gallery(location)
    assert gallery.verify("anna", embedding(0)).sample_id == first
    assert gallery.enroll("anna", embedding(9), silhouettes=walk(9)).sample.subject == "anna"
    gallery.close()
    damage(location, embeddings.c.vector, first, b"short")
    gallery = open_gallery(location)
    gallery.erase_sample(gallery.subject("anna").samples[2].sample_id)
    with pytest.raises(SampleDamaged, match=f"embedding of the sample {first} .* got 5 bytes"):
        gallery.verify("anna", embedding(0))
    gallery.close()


class Meanwhile(ExactIndex):
    """Lets something happen while it is searched."""

    def then(self):
        pass

    def search(self, vector, k):
        self.then()
        return super().search(vector, k)


@pytest.mark.parametrize("what", ["erased", "damaged"])
def test_somebody_s_new_walk_is_enrolled_when_the_others_go_meanwhile(location, what):
    first, second, _, _ = filled(location)
    index = Meanwhile(LENGTH)
    here, there = open_gallery(location, index=index), open_gallery(location)

    def go():
        index.then = Meanwhile.then.__get__(index)
        if what == "erased":
            there.erase_subject("anna")
        else:
            for sample_id in (first, second):
                damage(location, embeddings.c.vector, sample_id, b"short")

    index.then = go
    enrolled = here.enroll("anna", embedding(2), silhouettes=walk(9))  # nearest to ben
    assert (enrolled.conflict, enrolled.created_subject) == (None, what == "erased")
    for gallery in (here, there):
        gallery.close()


def test_one_that_is_enrolled_elsewhere_and_damaged_at_once_is_left_out_as_well(location):
    filled(location)
    here, there = open_gallery(location), open_gallery(location)
    new = there.enroll("dan", embedding(7), silhouettes=walk(7)).sample.sample_id
    damage(location, embeddings.c.vector, new, NAN)
    assert "dan" not in [one.subject for one in here.identify(embedding(7), limit=9)]
    assert (here.status().damaged, here.status().in_sync) == (1, True)
    assert there.status().damaged == 0  # who has it in memory goes on with it
    for gallery in (here, there):
        gallery.close()


def test_under_a_master_key_that_was_changed_nothing_is_taken_for_damaged(location):
    ids = filled(location, KEY)
    stale = open_gallery(location, master_key=KEY)
    with closing(Database(location, Vault(KEY))) as database:
        rotate(database, OTHER)
    fresh = open_gallery(location, master_key=OTHER)
    fresh.enroll("dan", embedding(7), silhouettes=walk(7))
    with pytest.raises(StoreUnavailable, match="was changed meanwhile: start again with it"):
        stale.identify(embedding(7))
    store = stale._store
    for look in (
        lambda: store.embeddings_of("anna", store.head()),
        lambda: store.silhouettes(ids[0]),
    ):
        with pytest.raises(StoreUnavailable, match="was changed meanwhile"):
            look()
    with pytest.raises(StoreUnavailable, match="was changed meanwhile"):
        rebuild(store, new_encoder())
    for gallery in (stale, fresh):
        gallery.close()


@pytest.mark.parametrize("key", [None, KEY])
def test_a_rebuild_embeds_the_rest_names_what_it_cannot_read_and_goes_on(location, key):
    ids = filled(location, key)
    for sample_id in ids[1:3]:
        damage(location, silhouettes.c.data, sample_id, b"damaged")
    damage(location, embeddings.c.vector, ids[0], b"short")
    encoder = new_encoder()
    with closing(Store.open(location, master_key=key)) as store:
        before = store.head()
        with pytest.raises(RebuildFailed, match="got 2 samples whose silhouettes") as caught:
            rebuild(store, encoder, batch=1)
        assert [one in str(caught.value) for one in ids] == [False, True, True, False]
        assert (store.head(), encoder.encoded) == (before, 2)
        with pytest.raises(SampleDamaged, match=f"silhouettes of the sample {ids[1]} cannot"):
            store.silhouettes(ids[1])
        gallery = open_gallery(location, master_key=key)
        for sample_id in ids[1:3]:
            gallery.erase_sample(sample_id)
        gallery.close()
        report = rebuild(store, encoder, batch=1)
    assert (report.embedded, report.switched, encoder.encoded) == (0, True, 2)
    new = Gallery.open(location, model_id="model-new", embedding_length=6, master_key=key)
    assert (new.status().samples, new.status().damaged) == (2, 0)  # anna's is embedded anew
    new.close()


def test_a_new_generation_with_a_damaged_embedding_is_not_switched_to(location):
    ids = filled(location)
    damage(location, embeddings.c.vector, ids[1], b"short")
    with (
        closing(Store.open(location)) as store,
        pytest.raises(RebuildFailed, match=f"{ids[1]} .* drop that generation and rebuild"),
    ):
        check_self_search(store, store.head())


def test_a_rotation_names_the_subject_whose_key_is_damaged(location):
    filled(location, KEY)
    with closing(Database(location, Vault(KEY))) as database:
        with database.writing() as connection:
            is_it = subjects.c.subject == "ben"
            connection.execute(update(subjects).where(is_it).values(wrapped_key=b"damaged"))
        with pytest.raises(StoreUnavailable, match="key of the subject 'ben' as it was written"):
            rotate(database, OTHER)


def test_a_calibration_says_which_sample_is_damaged(tmp_path, capsys):
    ids = filled(tmp_path)
    damage(tmp_path, embeddings.c.vector, ids[3], b"short")
    assert main(["calibrate", "--data", str(tmp_path)]) == 2
    assert f"the embedding of the sample {ids[3]} cannot be read" in capsys.readouterr().err


def test_a_service_is_ready_with_a_damaged_sample_and_info_counts_it(settings, client, gallery):
    files = {"sequence": ("walk.npy", npy(walker(14)))}
    enrolled = client.post("/enroll", data={"subject": "ada"}, files=files).json()
    damage(settings.data, embeddings.c.vector, enrolled["sample_id"], b"short")
    gallery._current._seen = None  # as at a start
    assert client.get("/readyz").status_code == 200
    assert client.get("/info").json()["gallery"]["damaged"] == 1


@pytest.mark.parametrize("text", ["{cut", "[1]", '{"view": NaN}', '{"of": "\\ud800"}', ""])
def test_damaged_metadata_hide_nobody_and_are_named(location, text, caplog):
    ids = filled(location)
    damage(location, samples.c.metadata, ids[1], text)
    gallery = open_gallery(location)
    listed = gallery.subject("anna").samples
    assert [(one.sample_id, one.damaged) for one in listed] == [
        (ids[0], ()),
        (ids[1], ("metadata",)),
    ]
    assert listed[1].metadata == {}
    assert gallery.views(ids) == {}
    again = gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    assert (again.duplicate, again.sample.damaged) == (True, ("metadata",))
    said = {record.getMessage() for record in caplog.records}
    assert len(said) == 1
    assert f"the metadata of the sample {ids[1]} cannot be read" in said.pop()
    assert gallery.status().damaged == 0
    gallery.erase_sample(ids[1])
    assert [one.sample_id for one in gallery.subject("anna").samples] == [ids[0]]
    gallery.close()


def test_metadata_that_are_no_text_any_more_are_damaged_like_others(tmp_path):
    ids = filled(tmp_path)
    damage(tmp_path, samples.c.metadata, ids[1], cast(b'{"view":"\xff0"}', LargeBinary).cast(Text))
    gallery = open_gallery(tmp_path)
    assert gallery.subject("anna").samples[1].damaged == ("metadata",)
    assert gallery.views(ids) == {}
    gallery.erase_sample(ids[1])
    gallery.close()


@pytest.mark.parametrize("text", ["yesterday", "", "2026-03-01T08:00:00"])
def test_damaged_moments_hide_nobody_and_are_named(location, text, caplog):
    gallery = open_gallery(location)
    when = datetime(2026, 3, 1, tzinfo=UTC)
    new = gallery.enroll("dan", embedding(5), silhouettes=walk(5), captured_at=when).sample
    damage(location, samples.c.created_at, new.sample_id, text)
    damage(location, samples.c.captured_at, new.sample_id, text)
    with closing(Database(location)) as database, database.writing() as connection:
        connection.execute(update(subjects).values(created_at=text))
    assert [(one.subject, one.created_at) for one in gallery.subjects()] == [("dan", None)]
    detail = gallery.subject("dan")
    (sample,) = detail.samples
    assert (detail.created_at, sample.created_at, sample.captured_at) == (None, None, None)
    assert sample.damaged == ("created_at", "captured_at")
    assert gallery.enroll("dan", embedding(5), silhouettes=walk(5)).sample == sample
    said = {record.getMessage().split(" cannot")[0] for record in caplog.records}
    assert said == {f"{what} of the sample {new.sample_id}" for what in sample.damaged}
    gallery.close()


def test_a_name_that_is_no_text_any_more_keeps_nobody_from_being_found(tmp_path):
    ids = filled(tmp_path)
    damaged = cast(b"be\xff", LargeBinary).cast(Text)
    with closing(Database(tmp_path)) as database, database.writing() as connection:
        is_it = subjects.c.subject == "ben"
        connection.execute(update(subjects).where(is_it).values(subject=damaged))
    gallery = open_gallery(tmp_path)
    assert [one.subject for one in gallery.subjects()] == ["anna", "be\\xff", "cem"]
    assert gallery.identify(embedding(0), limit=1)[0].subject == "anna"
    assert gallery.identify(embedding(2), limit=1)[0].subject == "be\\xff"
    assert gallery.erase_sample(ids[2]).receipt.subject_erased
    assert [one.subject for one in gallery.subjects()] == ["anna", "cem"]
    gallery.close()


def test_a_list_goes_on_past_a_name_that_is_no_text_any_more(tmp_path):
    filled(tmp_path)
    gallery = open_gallery(tmp_path)
    for seed, who in enumerate(("bez", "be\\xff!", "dan"), start=5):
        gallery.enroll(who, embedding(seed), silhouettes=walk(seed))
    with closing(Database(tmp_path)) as database, database.writing() as connection:
        is_it = subjects.c.subject == "ben"
        damaged = cast(b"be\xff", LargeBinary).cast(Text)
        connection.execute(update(subjects).where(is_it).values(subject=damaged))
    expected = ["anna", "be\\xff!", "bez", "be\\xff", "cem", "dan"]
    for limit in (1, 2, 4):
        seen, after = [], None
        while page := gallery.subjects(limit=limit, after=after):
            seen += [one.subject for one in page]
            assert len(seen) <= len(expected)
            after = seen[-1]
        assert seen == expected
    gallery.close()


def test_metadata_that_escape_a_character_are_read_on_either_database(location):
    gallery = open_gallery(location)
    given = {"view": "090", "of": 'a "quote", a \\ and \n, ü'}
    gallery.enroll("dan", embedding(5), silhouettes=walk(5), metadata=given)
    (sample,) = gallery.subject("dan").samples
    assert (sample.metadata, sample.damaged) == (given, ())
    assert gallery.views([sample.sample_id]) == {sample.sample_id: 90.0}
    gallery.close()


def test_callers_hear_which_sample_is_damaged_and_what_helps(settings, client, gallery):
    files = {"sequence": ("walk.npy", npy(walker(14)))}
    metadata = '{"view": 90}'
    form = {"subject": "ada", "metadata": metadata}
    sample_id = client.post("/enroll", data=form, files=files).json()["sample_id"]
    damage(settings.data, samples.c.metadata, sample_id, "{cut")
    damage(settings.data, samples.c.created_at, sample_id, cast(b"\xff", LargeBinary).cast(Text))
    listed = client.get("/subjects/ada").json()["samples"][0]
    assert (listed["metadata"], listed["damaged"]) == ({}, ["created_at", "metadata"])
    assert listed["created_at"] is None
    found = client.post("/identify", data={"metadata": metadata}, files=files)
    assert (found.status_code, found.json()["candidates"][0]["view"]) == (200, None)
    damage(settings.data, silhouettes.c.data, sample_id, b"damaged")
    damage(settings.data, embeddings.c.vector, sample_id, b"short")
    for answer in (
        client.get(f"/samples/{sample_id}/walk"),
        client.post("/verify", data={"subject": "ada"}, files=files),
    ):
        assert (answer.status_code, answer.json()["code"]) == (500, "sample_damaged")
        assert f"of the sample {sample_id} cannot be read" in answer.json()["detail"]
        assert "erase that sample by its id" in answer.json()["detail"]
    erased = client.delete(f"/samples/{sample_id}")
    assert (erased.status_code, erased.json()["receipt"]["samples"]) == (200, 1)
