"""Encryption at rest: a key a subject, bound to its place; a wrong master key is told at once."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from sqlalchemy import select, text, update

from gallery import Gallery, MasterKey, StoreUnavailable, WrongMasterKey, read_master_key
from gallery.ciphers import Slot, Vault
from gallery.contents import seal_subject
from gallery.database import Database
from gallery.generations import Model
from gallery.master_keys import encrypt_plain, rotate, write_master_key
from gallery.next_generation import next_walks
from gallery.packing import pack_silhouettes
from gallery.preparing import find_or_make_gallery
from gallery.schema import embeddings, silhouettes, subjects
from gallery.store import Store
from tests.waiting import wait_until

LENGTH = 64
KEY, OTHER, THIRD = (MasterKey(bytes(range(first, first + 32))) for first in range(3))


def open_gallery(location, key=KEY, **options):
    return Gallery.open(
        location, model_id="model-a", embedding_length=LENGTH, master_key=key, **options
    )


def embedding(seed):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


def walk(seed, frames=12):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


def enroll(gallery, subject, seed):
    return gallery.enroll(subject, embedding(seed), silhouettes=walk(seed)).sample.sample_id


def stored(gallery):
    """Everything that is in the tables of contents, as one piece of bytes."""
    with gallery._store.database.reading() as connection:
        vectors = connection.scalars(select(embeddings.c.vector))
        walks = connection.scalars(select(silhouettes.c.data))
        return b"".join([*vectors, *walks])


def plain(*seeds):
    return [
        piece for s in seeds for piece in (embedding(s).tobytes(), pack_silhouettes(walk(s)).data)
    ]


def test_what_is_stored_is_noise_and_reads_back_the_same(location):
    gallery = open_gallery(location)
    sample = enroll(gallery, "anna", 1)
    enroll(gallery, "ben", 2)
    assert not any(piece in stored(gallery) for piece in plain(1, 2))
    assert gallery.verify("anna", embedding(1)).distance == 0
    np.testing.assert_array_equal(gallery.silhouettes(sample), walk(1))
    (first, _second) = next_walks(gallery._store, 99, 0, 10).walks
    np.testing.assert_array_equal(first.silhouettes, walk(1))
    gallery.close()
    again = open_gallery(location)
    assert again.status().in_sync
    assert again.status().encrypted
    assert [c.subject for c in again.identify(embedding(2))] == ["ben", "anna"]
    receipt = again.erase_subject("anna").receipt
    assert (receipt.key_destroyed, receipt.proof.found, receipt.proof.searches) == (True, 0, 1)
    again.close()


@pytest.mark.parametrize("key", [None, OTHER])
def test_a_missing_or_wrong_master_key_is_told_at_the_start(location, key):
    open_gallery(location).close()
    with pytest.raises(WrongMasterKey, match=f"expected the master key {KEY.fingerprint}"):
        open_gallery(location, key)
    open_gallery(location).close()


def test_people_from_before_are_sealed_with_their_next_sample_or_all_at_once(location):
    gallery = open_gallery(location, None)
    for seed, who in enumerate(("anna", "anna", "ben", "cem")):
        enroll(gallery, who, seed)
    assert all(piece in stored(gallery) for piece in plain(0, 1, 2, 3))
    gallery.close()
    gallery = open_gallery(location)
    assert (gallery.status().plain_subjects, gallery.status().in_sync) == (3, True)
    enroll(gallery, "anna", 4)
    assert not any(piece in stored(gallery) for piece in plain(0, 1, 4))
    assert all(piece in stored(gallery) for piece in plain(2, 3))
    assert gallery.status().plain_subjects == 2
    assert encrypt_plain(gallery._store.database) == 2
    assert encrypt_plain(gallery._store.database) == 0
    assert not any(piece in stored(gallery) for piece in plain(0, 1, 2, 3, 4))
    assert gallery.status().plain_subjects == 0
    for seed, who in enumerate(("anna", "anna", "ben", "cem", "anna")):
        assert gallery.verify(who, embedding(seed)).distance == 0
    gallery.close()


def test_sealing_the_past_leaves_no_plain_bytes_in_the_files(tmp_path):
    gallery = open_gallery(tmp_path, None)
    enroll(gallery, "anna", 1)
    gallery.close()
    database = Database(tmp_path)
    with pytest.raises(WrongMasterKey, match="got none"):
        encrypt_plain(database)
    database.close()
    gallery = open_gallery(tmp_path)
    encrypt_plain(gallery._store.database)
    gallery.close()
    for path in tmp_path.iterdir():
        assert not any(piece[:48] in path.read_bytes() for piece in plain(1))


def test_sealing_somebody_with_a_new_walk_leaves_no_plain_bytes_in_the_files(tmp_path):
    gallery = open_gallery(tmp_path, None)
    enroll(gallery, "anna", 1)
    gallery.close()
    gallery = open_gallery(tmp_path)
    enroll(gallery, "ben", 2)  # writes the page that anna is on as well
    log = tmp_path / "metagait.db-wal"
    assert plain(1)[0][:48] in log.read_bytes(), "the search itself works"
    enroll(gallery, "anna", 3)
    for path in tmp_path.iterdir():
        assert not any(piece[:48] in path.read_bytes() for piece in plain(1))
    gallery.close()


def test_rotation_takes_the_old_key_s_place_and_touches_no_content(location):
    gallery = open_gallery(location)
    enroll(gallery, "anna", 1)
    before = stored(gallery)
    assert rotate(gallery._store.database, OTHER) == 1
    assert stored(gallery) == before
    with pytest.raises(StoreUnavailable, match="was changed meanwhile: start again with it"):
        gallery.verify("anna", embedding(1))
    gallery.close()
    with pytest.raises(WrongMasterKey):
        open_gallery(location)
    gallery = open_gallery(location, OTHER)
    assert gallery.verify("anna", embedding(1)).distance == 0
    gallery.close()


class WaitingKey:
    """A master key that takes its time over the first subject's key."""

    def __init__(self, key):
        self.fingerprint, self._key = key.fingerprint, key
        self.entered, self.free = threading.Event(), threading.Event()

    def rewrap(self, wrapped, slot, old):
        self.entered.set()
        assert self.free.wait(60)
        return self._key.rewrap(wrapped, slot, old)


def waiting_locks(database):
    with database.reading() as connection:
        ungranted = text("SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted")
        return connection.scalar(ungranted)


def test_on_a_server_nobody_makes_a_gallery_while_a_rotation_is_under_way(postgres_url):
    gallery, slow = open_gallery(postgres_url), WaitingKey(OTHER)
    enroll(gallery, "anna", 1)
    with closing(Database(postgres_url, Vault(KEY))) as database, ThreadPoolExecutor(2) as threads:
        rotation = threads.submit(rotate, database, slow)
        try:
            assert slow.entered.wait(60)
            making = threads.submit(find_or_make_gallery, database, "lab")
            wait_until(lambda: making.done() or waiting_locks(database))
            assert not making.done(), "who enrols in it now is sealed with the old key"
        finally:
            slow.free.set()
        assert rotation.result(60) == 1
        assert making.result(60) > 0
    gallery.close()


def test_a_process_from_before_a_rotation_seals_nobody_with_the_old_key(location):
    gallery = open_gallery(location)
    enroll(gallery, "anna", 1)
    with closing(Database(location, Vault(KEY))) as database:
        assert rotate(database, OTHER) == 1
    for subject in ("ben", "anna"):
        with pytest.raises(StoreUnavailable, match=f"expected the master key {OTHER.fingerprint}"):
            enroll(gallery, subject, 2)
    gallery.close()
    gallery = open_gallery(location, OTHER)
    assert gallery.status().samples == 1
    gallery.close()


@pytest.mark.parametrize("work", [encrypt_plain, lambda database: rotate(database, THIRD)])
def test_a_command_from_before_a_rotation_seals_nobody_with_the_old_key(location, work):
    gallery = open_gallery(location, None)
    sample_id = enroll(gallery, "anna", 1)
    gallery.close()
    with closing(Store.open(location, master_key=KEY)) as late:
        with closing(Database(location, Vault(KEY))) as database:
            rotate(database, OTHER)
        with pytest.raises(StoreUnavailable, match=f"expected the master key {OTHER.fingerprint}"):
            work(late.database)
    with closing(Store.open(location, master_key=OTHER)) as store:
        assert (store.silhouettes(sample_id) == walk(1)).all()


def test_a_process_from_before_a_rotation_can_still_erase(location):
    gallery = open_gallery(location)
    enroll(gallery, "anna", 1)
    with closing(Database(location, Vault(KEY))) as database:
        rotate(database, OTHER)
    receipt = gallery.erase_subject("anna").receipt
    assert (receipt.key_destroyed, receipt.proof.rows, receipt.proof.indexed) == (True, 0, 0)
    gallery.close()


def test_a_process_without_a_key_enrols_nobody_plain_once_the_store_has_one(location):
    plain = open_gallery(location, None)
    enroll(plain, "anna", 1)
    open_gallery(location).close()
    with pytest.raises(StoreUnavailable, match=f"expected the master key {KEY.fingerprint}"):
        enroll(plain, "ben", 2)
    plain.close()


def test_what_was_sealed_for_one_place_opens_nowhere_else(tmp_path):
    gallery = open_gallery(tmp_path)
    enroll(gallery, "anna", 1)
    enroll(gallery, "ben", 2)
    with gallery._store.database.writing() as connection:
        first, second = connection.execute(select(embeddings).order_by(embeddings.c.sample)).all()
        for row, other in ((first, second), (second, first)):
            moved = update(embeddings).where(embeddings.c.sample == row.sample)
            connection.execute(moved.values(vector=other.vector))
    with pytest.raises(StoreUnavailable, match="altered, moved"):
        gallery.verify("anna", embedding(1))
    with gallery._store.database.writing() as connection:
        keys = dict(connection.execute(select(subjects.c.subject, subjects.c.wrapped_key)).all())
        moved = update(subjects).where(subjects.c.subject == "ben")
        connection.execute(moved.values(wrapped_key=keys["anna"]))
    with pytest.raises(StoreUnavailable, match="altered, moved"):
        gallery.verify("ben", embedding(2))
    gallery.close()


@pytest.mark.parametrize(
    "slot", [Slot(2, "t", "s", 1), Slot(1, "u", "s", 1), Slot(1, "t", "r", 1), Slot(1, "t", "s", 2)]
)
def test_every_part_of_a_place_is_bound(slot):
    wrapped = KEY.new_subject_key(Slot(1, "t"))
    cipher = KEY.unwrap(wrapped, Slot(1, "t"))
    sealed = cipher.seal(b"walk", Slot(1, "t", "s", 1))
    assert cipher.open(sealed, Slot(1, "t", "s", 1)) == b"walk"
    assert cipher.seal(b"walk", Slot(1, "t", "s", 1)) != sealed, "a nonce is used once"
    with pytest.raises(StoreUnavailable):
        cipher.open(sealed, slot)
    for damaged in (b"", sealed[:11], sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(StoreUnavailable):
            cipher.open(damaged, Slot(1, "t", "s", 1))
    with pytest.raises(StoreUnavailable):
        OTHER.unwrap(wrapped, Slot(1, "t"))


def test_a_key_file_is_new_private_and_reads_back(tmp_path):
    path = tmp_path / "master.key"
    key = write_master_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_master_key(path).fingerprint == key.fingerprint
    assert key.fingerprint not in path.read_text()
    with pytest.raises(WrongMasterKey, match="File exists"):
        write_master_key(path)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"", 0o600, "got 0 bytes"),
        (b"c2hvcnQ=\n", 0o600, "got 5 bytes"),
        (b"not base64!\n", 0o600, "masterkey new"),
        (b"\xff" * 32, 0o600, "masterkey new"),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0o640, "chmod 600"),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0o604, "chmod 600"),
    ],
)
def test_a_file_that_holds_no_key_or_is_not_private_is_a_sentence(tmp_path, content, mode, says):
    path = tmp_path / "master.key"
    path.write_bytes(content)
    os.chmod(path, mode)
    with pytest.raises(WrongMasterKey, match=says):
        read_master_key(path)


def test_a_key_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(WrongMasterKey, match="No such file"):
        read_master_key(tmp_path / "none")
    with pytest.raises(WrongMasterKey, match="expected"):
        read_master_key(tmp_path)


def test_a_plain_store_without_a_key_seals_nothing(tmp_path):
    store = Store.open(tmp_path)
    gallery = Gallery.over(store, Model("model-a", LENGTH))
    enroll(gallery, "anna", 1)
    with store.database.writing() as connection:
        row = connection.scalar(select(subjects.c.id))
        assert not seal_subject(connection, row)
        assert connection.scalar(text("SELECT count(*) FROM master_keys")) == 0
    gallery.close()
