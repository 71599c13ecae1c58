"""The index in a Milvus server: what only a server can do to it."""

import threading
import time
from contextlib import closing
from uuid import uuid4

import numpy as np
import pytest

from gallery import Gallery, IndexUnavailable, ModelMismatch
from gallery.backup import back_up, restore
from gallery.database import Database
from gallery.generations import names
from gallery.indexes.milvus import INDEX_TYPES, MilvusIndex
from gallery.indexes.newest import KEPT_S
from gallery.rebuild import rebuild
from gallery.store import Store
from tests.indexes import LENGTH, Clock, check, fill, vectors
from tests.milvus import PATIENCE_S, Relay
from tests.rebuilding import OLD, assert_finds, enroll, new_encoder, open_gallery, walk
from tests.waiting import wait_until

pytestmark = pytest.mark.milvus
PROBES = np.random.default_rng(3).normal(size=(8, LENGTH)).astype(np.float32)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(milvus_server, tmp_path, clock):
    """A gallery of three people on the server."""
    import pymilvus

    prefix = f"t{uuid4().hex}"
    index = MilvusIndex(LENGTH, milvus_server.url, prefix=prefix, clock=clock)
    gallery = Gallery.open(tmp_path, model_id="model-a", embedding_length=LENGTH, index=index)
    for name, vector in zip(("anna", "ben", "carl"), PROBES, strict=False):
        gallery.enroll(name, vector, silhouettes=None)
    yield gallery
    gallery.close()
    client = pymilvus.MilvusClient(milvus_server.url)
    for name in client.list_collections():
        if name.startswith(prefix):
            client.drop_collection(name)
    client.close()


@pytest.fixture
def index_of(milvus_server):
    """Makes replicas of one index; their collection is dropped at the end."""
    prefix, made = f"t{uuid4().hex}", []

    def make(**choices):
        made.append(MilvusIndex(LENGTH, milvus_server.url, prefix=prefix, **choices))
        return made[-1]

    yield make
    MilvusIndex(LENGTH, milvus_server.url, prefix=prefix).begin("end", retired=["g1_a"])
    for one in made:
        one.close()


def whom(gallery, number):
    return [one.subject for one in gallery.identify(PROBES[number], limit=1)]


def test_a_replica_of_the_old_model_learns_of_a_rebuild_when_its_collection_goes(
    milvus_server, tmp_path
):
    prefix, encoder = f"t{uuid4().hex}", new_encoder()

    def replica(encoder):
        index = MilvusIndex(encoder.facts.embedding_length, milvus_server.url, prefix=prefix)
        return open_gallery(tmp_path, encoder, index=index)

    old = replica(OLD)
    for seed in (1, 2):
        enroll(old, OLD, seed)
    with closing(Store.open(tmp_path)) as store:
        rebuild(store, encoder)
    assert_finds(old, OLD, [1, 2])
    new = replica(encoder)
    with pytest.raises(ModelMismatch, match="one embedded by model-new"):
        old.identify(OLD.encode([walk(1)])[0])
    assert_finds(new, encoder, [1, 2])
    for gallery in (old, new):
        gallery.close()
    MilvusIndex(6, milvus_server.url, prefix=prefix).begin("end", retired=_named(tmp_path))


def _named(folder):
    with closing(Store.open(folder)) as store, store.database.reading() as connection:
        return [names(connection, store.gallery_id, store.head().generation)[0]]


def answers_again(gallery):
    def does():
        try:
            return [whom(gallery, number) for number in range(3)] == [["anna"], ["ben"], ["carl"]]
        except IndexUnavailable:
            return False

    wait_until(does, PATIENCE_S)
    assert gallery.status().in_sync


def test_a_server_that_is_killed_is_missed_at_once_and_found_again(milvus_server, opened):
    if not milvus_server.is_ours:
        pytest.skip("it runs for somebody else")
    assert whom(opened, 1) == ["ben"]
    milvus_server.kill()
    try:
        for _ in range(2):
            with pytest.raises(IndexUnavailable, match="expected Milvus to answer"):
                opened.identify(PROBES[1])
    finally:
        milvus_server.start()
    answers_again(opened)


def test_a_collection_that_was_emptied_or_lost_is_filled_from_the_store(
    milvus_server, opened, clock
):
    import pymilvus

    client = pymilvus.MilvusClient(milvus_server.url)
    name = opened.status().index_state.partition("collection ")[2].partition(";")[0]
    client.delete(name, filter="row >= 0")
    # Without a deletion of our own nobody promises when it is seen.
    wait_until(
        lambda: not client.query(name, filter="row >= 0", consistency_level="Strong"), PATIENCE_S
    )
    assert whom(opened, 1) == ["ben"], "written a moment ago, so it is known here"
    clock.now += KEPT_S
    with pytest.raises(IndexUnavailable, match="expected 3 rows in the Milvus collection"):
        opened.identify(PROBES[1])
    answers_again(opened)
    client.drop_collection(name)
    with pytest.raises(IndexUnavailable, match="expected Milvus to answer"):
        opened.identify(PROBES[1])
    answers_again(opened)
    client.close()


def test_an_erasure_in_a_restored_copy_leaves_the_original_what_it_has(
    milvus_server, opened, clock, tmp_path
):
    back_up(opened._store.database, tmp_path / "backup")
    with closing(Database(tmp_path / "copy")) as database:
        restore(tmp_path / "backup", database)
    index = MilvusIndex(LENGTH, milvus_server.url, prefix=opened._current._index._prefix)
    copy = Gallery.open(tmp_path / "copy", model_id="model-a", embedding_length=LENGTH, index=index)
    assert whom(copy, 0) == ["anna"]
    assert copy.erase_subject("anna").receipt.proof.found == 0
    copy.close()
    clock.now += KEPT_S  # from now on it answers from Milvus alone
    assert whom(opened, 0) == ["anna"]
    assert opened.status().in_sync


def test_a_server_that_says_nothing_is_not_waited_for_long(milvus_server):
    relay = Relay(milvus_server.url)
    index = MilvusIndex(LENGTH, relay.url, prefix=f"t{uuid4().hex}", patience_s=3)
    index.begin("g1_a")
    stored = fill(index, range(20))
    relay.hold()
    started = time.monotonic()
    with pytest.raises(IndexUnavailable, match="expected Milvus to answer"):
        index.search(stored[7], 1)
    assert time.monotonic() - started < 30
    relay.release()
    wait_until(lambda: index.search(stored[7], 1)[1].tolist() == [7], 30)
    index.begin("g2_b", retired=["g1_a"])
    index.close()
    relay.close()


def test_a_connection_that_ends_while_it_is_made_is_made_again(milvus_server):
    # More than what greets a server, less than what asks to be let in.
    relay = Relay(milvus_server.url, first_bytes=150)
    index = MilvusIndex(LENGTH, relay.url, prefix=f"t{uuid4().hex}")
    index.begin("g1_a")
    index.begin(None, retired=["g1_a"])
    index.close()
    relay.close()


def test_a_replica_sees_at_once_what_another_one_wrote(index_of):
    first, second = index_of(), index_of()
    first.begin("g1_a")
    second.begin("g1_a")
    stored = {}
    for row in range(0, 60, 3):
        stored |= fill(first, range(row, row + 3), seed=row)
        fill(second, range(row, row + 3), seed=row)
        for one in (second, first):
            check(one, stored, [stored[row + 1]], 1)
    first.remove(np.array([4, 5]))  # which the second has not heard of yet
    del stored[4], stored[5]
    second.remove(np.array([4, 5]))
    check(second, stored, vectors(1, 3), 5)
    third = index_of()
    assert third.begin("g1_a").rows.tolist() == sorted(stored)
    check(third, stored, vectors(2, 3), 5)


class Noting(MilvusIndex):
    """Notes at which levels of consistency it searched."""

    levels = ()

    def _nearest(self, vector, limit, level):
        self.levels = (*self.levels, level)
        return super()._nearest(vector, limit, level)


def test_an_answer_waits_for_no_write_once_all_that_is_older_is_shown(milvus_server, clock):
    prefix, url = f"t{uuid4().hex}", milvus_server.url
    first, second = (Noting(LENGTH, url, prefix=prefix, clock=clock) for _ in range(2))
    for one in (first, second):
        one.begin("g1_a")
    stored = fill(first, range(30))
    fill(second, range(30))
    check(second, stored, vectors(1, 3), 5)
    assert set(second.levels) == {"Session"}, "what others wrote before may not be shown yet"
    clock.now += KEPT_S
    second.levels = ()
    for row in range(30, 60, 3):
        stored |= fill(first, range(row, row + 3), seed=row)
        fill(second, range(row, row + 3), seed=row)
        for one in (second, first):
            check(one, stored, [stored[row + 1], *vectors(row, 2)], 5)
    first.remove(np.array([31, 32]))
    second.remove(np.array([31, 32]))
    del stored[31], stored[32]
    for k in (1, 5, len(stored)):
        check(second, stored, vectors(2, 3), k)
    assert set(second.levels) == {"Bounded"}
    second.begin(None)
    assert len(second) == len(second._newest) == 0
    second.begin("g2_b", retired=["g1_a"])
    for one in (first, second):
        one.close()


@pytest.mark.parametrize("kind", INDEX_TYPES)
def test_every_type_of_index_answers(index_of, kind):
    index = index_of(index_type=kind)
    try:
        index.begin("g1_a")
    except IndexUnavailable as error:
        if f"invalid index type: {kind}" not in str(error):
            raise
        pytest.skip(f"an older Milvus: {error}")
    stored = fill(index, range(400))
    assert index.state.startswith(f"{kind} in the collection")
    for row in (3, 250):
        assert index.search(stored[row], 3)[1][0] == row


def test_a_collection_keeps_the_type_that_it_was_made_with(index_of):
    index_of(index_type="FLAT").begin("g1_a")
    other = index_of(index_type="HNSW")
    other.begin("g1_a")
    assert other.state.startswith("FLAT in the collection")
    stored = fill(other, range(50))
    check(other, stored, vectors(1, 3), 3)


def test_a_collection_that_another_replica_is_in_the_middle_of_making_is_waited_for(lite_milvus):
    name = f"t{uuid4().hex}"
    # What Milvus Lite has of a collection at first: its folder, and nothing that can be asked for.
    begun = lite_milvus.folder / "collections" / f"{name}_g1_a"
    begun.mkdir()
    other = threading.Timer(0.5, begun.rmdir)
    other.start()
    index = MilvusIndex(LENGTH, lite_milvus.url, prefix=name)
    assert len(index.begin("g1_a").rows) == 0
    other.join()
    stored = fill(index, range(5))
    check(index, stored, vectors(1, 3), 3)
    index.begin(None)
    index.begin("end", retired=["g1_a"])
    index.close()


def test_a_collection_that_was_left_without_an_index_gets_one(index_of, milvus_server):
    first = index_of()
    first.begin("g1_a")
    stored = fill(first, range(30))
    import pymilvus

    client = pymilvus.MilvusClient(milvus_server.url)
    client.release_collection(first._collection)
    client.drop_index(first._collection, "vector")
    client.close()
    second = index_of()
    assert len(second.begin("g1_a").rows) == 30
    check(second, stored, vectors(1, 3), 3)
