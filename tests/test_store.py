import traceback
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from sqlalchemy import event

from gallery import (
    Gallery,
    InvalidMetadata,
    InvalidSilhouettes,
    InvalidSubject,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from gallery.checks import METADATA_MAX_BYTES, check_silhouettes, check_subject, metadata_text
from gallery.database import Database
from gallery.generations import Model
from gallery.index import ExactIndex
from gallery.packing import (
    PackedSilhouettes,
    pack_embedding,
    pack_silhouettes,
    sample_id,
    unpack_embeddings,
    unpack_silhouettes,
)
from gallery.store import Store

LENGTH = 4


def open_gallery(folder):
    return Gallery.open(folder, model_id="model-a", embedding_length=LENGTH)


def embedding(seed=0):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


def walk(seed=0, frames=3):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_packing_silhouettes_loses_nothing(silhouettes):
    back = unpack_silhouettes(pack_silhouettes(silhouettes))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, silhouettes)


def test_damaged_or_unknown_packed_silhouettes_are_a_sentence():
    packed = pack_silhouettes(walk())
    for data in (b"", packed.data[:-4], b"\x80\x04N."):
        with pytest.raises(StoreUnavailable, match="damaged"):
            unpack_silhouettes(PackedSilhouettes(packed.shape, data))
    with pytest.raises(StoreUnavailable, match="zlib-uint8-1"):
        unpack_silhouettes(PackedSilhouettes(packed.shape, packed.data, "from-the-future"))


def test_embeddings_are_little_endian_float32():
    assert pack_embedding(np.array([1.0, -2.0], np.float32)) == bytes.fromhex("0000803f000000c0")
    blobs = [pack_embedding(embedding(1)), bytes(12), pack_embedding(embedding(2))]
    back, wrong = unpack_embeddings(blobs, LENGTH)
    np.testing.assert_array_equal(back[[0, 2]], [embedding(1), embedding(2)])
    assert list(wrong) == [1]
    assert "16 bytes, got 12" in str(wrong[1])


def test_a_sample_id_tells_subjects_walks_and_shapes_apart():
    silhouettes = walk()
    known = sample_id("anna", silhouettes)
    assert len(known) == 32
    assert int(known, 16) >= 0
    others = {
        sample_id("ann", silhouettes),
        sample_id("anna", walk(1)),
        sample_id("anna", silhouettes.reshape(3, 6, 8)),
        sample_id("anna", embedding()),
        sample_id("anna", embedding(9)),
    }
    assert len(others | {known}) == 6


@pytest.mark.parametrize(
    "subject",
    [
        "",
        " anna",
        "anna ",
        "an\nna",
        "\x00",
        "a" * 129,
        "\ud800",
        "a\u200bb",
        "a\u2028b",
        "e\u0301",
    ],
)
def test_subject_ids_that_could_not_be_shown_are_refused(subject):
    with pytest.raises(InvalidSubject, match="expected a subject id"):
        check_subject(subject)


@pytest.mark.parametrize("subject", ["1", "anna b.", "Ægir-007", "李/四", "a" * 128])
def test_ordinary_subject_ids_are_taken(subject):
    check_subject(subject)


@pytest.mark.parametrize(
    "metadata",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {1: "a"},
        {"x": (1, 2)},
        {"x": {1, 2}},
        {"x": "\ud800"},
        {"x": "é" * (METADATA_MAX_BYTES // 2)},
    ],
)
def test_metadata_that_is_no_small_json_object_is_refused(metadata):
    with pytest.raises(InvalidMetadata, match="expected metadata"):
        metadata_text(metadata)


def test_metadata_that_nests_without_end_is_refused():
    loop: dict[str, object] = {}
    loop["again"] = loop
    with pytest.raises(InvalidMetadata):
        metadata_text(loop)


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.zeros((0, 8, 6)), np.zeros((2, 8, 0))])
def test_what_is_not_a_walk_is_refused(bad):
    with pytest.raises(InvalidSilhouettes, match="uint8"):
        check_silhouettes(bad.astype(np.uint8))
    with pytest.raises(InvalidSilhouettes, match="float64"):
        check_silhouettes(np.zeros((2, 8, 6)))


def test_a_database_is_made_durable_and_for_its_owner_alone(tmp_path):
    folder = tmp_path / "new" / "data"
    store = Store.open(folder)
    with store.database.reading() as connection:
        settings_of = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    store.close()
    assert settings_of == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
    }
    assert folder.stat().st_mode & 0o077 == 0


def test_a_store_opens_again_without_migrating_twice(tmp_path):
    first = Store.open(tmp_path)
    second = Store.open(tmp_path)
    other = Store.open(tmp_path, "other")
    assert first.gallery_id == second.gallery_id != other.gallery_id
    for store in (first, second, other):
        store.close()


def test_galleries_of_one_database_do_not_see_each_other(tmp_path):
    main = open_gallery(tmp_path)
    other = Gallery.open(tmp_path, model_id="model-b", embedding_length=LENGTH, name="other")
    main.enroll("anna", embedding(), silhouettes=walk())
    assert other.identify(embedding()) == ()
    other.enroll("anna", embedding(1), silhouettes=walk())
    assert main.erase_subject("anna").samples == 1
    assert (main.status().samples, other.status().samples) == (0, 1)
    assert other.status().in_sync
    main.close()
    other.close()


def test_a_folder_that_cannot_be_one_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="folder for the gallery"):
        Store.open(tmp_path / "file")


def test_a_file_that_is_no_database_is_a_sentence(tmp_path):
    (tmp_path / "metagait.db").write_bytes(b"these bytes are no database " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://anna:s3cret@127.0.0.1:1/metagait",
        "postgresql+nosuchdriver://anna:s3cret@127.0.0.1:1/metagait",
        "postgresql+psycopg://anna:s3cret@127.0.0.1:port/metagait",
    ],
)
def test_a_server_that_cannot_be_reached_is_a_sentence_without_the_password(url):
    with pytest.raises(StoreUnavailable, match="expected") as caught:
        Store.open(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in shown


def test_a_server_is_not_waited_for_without_end_unless_its_url_says_so(postgres_url):
    for more, seconds in (("", "10"), ("&connect_timeout=3", "3")):
        with closing(Database(postgres_url + more)) as database, database.reading() as connection:
            known = connection.connection.dbapi_connection.info.get_parameters()
        assert (known["connect_timeout"], known["tcp_user_timeout"]) == (seconds, "30000")


def test_a_url_without_a_driver_is_a_sentence():
    with pytest.raises(StoreUnavailable, match="SQLAlchemy URL"):
        Store.open("nosuchdatabase://somewhere/metagait")


@pytest.mark.parametrize(
    ("pragma", "undo", "error"),
    [
        ("PRAGMA max_page_count=1", "PRAGMA max_page_count=1073741823", StoreFull),
        ("PRAGMA query_only=ON", "PRAGMA query_only=OFF", StoreUnavailable),
    ],
)
def test_a_full_or_read_only_database_refuses_whole_and_goes_on_reading(
    tmp_path, pragma, undo, error
):
    store, state = Store.open(tmp_path), {"pragma": "PRAGMA user_version"}

    @event.listens_for(store.database.engine, "checkout")
    def _limit(connection, _record, _proxy):
        connection.execute(state["pragma"]).close()

    gallery = Gallery(store, Model("model-a", LENGTH), ExactIndex(LENGTH))
    gallery.enroll("anna", embedding(0), silhouettes=walk())
    state["pragma"] = pragma
    with pytest.raises(error) as caught:
        gallery.enroll("ben", embedding(1), silhouettes=walk(1, frames=2000))
    assert isinstance(caught.value, StoreError)
    assert [c.subject for c in gallery.identify(embedding(1))] == ["anna"]
    state["pragma"] = undo
    assert gallery.status().in_sync
    gallery.enroll("ben", embedding(1), silhouettes=walk(1))
    assert gallery.verify("ben", embedding(1)).distance == 0
    gallery.close()


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "metagait.db").write_bytes(b"a picture, say" * 100)
    with pytest.raises(StoreUnavailable, match=rf"in {tmp_path}/metagait\.db, got: file is not a"):
        Store.open(tmp_path)
