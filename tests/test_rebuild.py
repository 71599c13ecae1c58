"""A rebuild: embedded, checked, switched to; and what it refuses."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import select

from gallery import (
    GallerySize,
    ModelMismatch,
    RebuildFailed,
    RebuildRefused,
)
from gallery.embedding import in_batches
from gallery.following import Chunk
from gallery.generations import Model
from gallery.next_generation import Walk, begin, drop_others, roll_back, switch
from gallery.rebuild import rebuild
from gallery.schema import generations
from gallery.self_search import _SelfSearch
from tests.rebuilding import (
    OLD,
    KilledError,
    assert_finds,
    enroll,
    new_encoder,
    open_gallery,
    opened_store,
    walk,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path):
    with opened_store(tmp_path) as opened:
        yield opened


def test_a_mismatch_is_healed_by_a_rebuild_and_a_rollback_returns(tmp_path, store):
    serving, encoder = open_gallery(tmp_path, OLD), new_encoder()
    upgraded = open_gallery(tmp_path, encoder)
    with pytest.raises(ModelMismatch):
        upgraded.identify(encoder.encode([walk(0)])[0])
    seen = []
    report = rebuild(
        store, encoder, batch=5, progress=lambda done, total: seen.append((done, total))
    )
    assert (report.embedded, report.checked, report.switched) == (23, 3, True)
    assert seen == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    assert_finds(upgraded, encoder, range(23))
    assert (upgraded.status().generation, upgraded.status().in_sync) == (report.generation, True)
    assert_finds(serving, OLD, range(23))  # it goes on until its process has the new model
    for gallery, status in ((upgraded, upgraded.status()), (serving, serving.status())):
        expected = GallerySize("main", status.generation, status.subjects, status.samples)
        assert gallery.size() == expected
    assert upgraded.size().generation != serving.size().generation
    assert serving.live_model() == Model("model-new", 6)

    assert roll_back(store).model_id == "model-old"
    assert_finds(serving, OLD, range(23))
    assert serving.status().in_sync
    assert roll_back(store).model_id == "model-new", "a rollback can itself be taken back"
    assert_finds(upgraded, encoder, range(23))
    serving.close()
    upgraded.close()


def test_an_old_generation_follows_erasures_until_somebody_enrols_in_the_new_one(tmp_path, store):
    serving, encoder = open_gallery(tmp_path, OLD), new_encoder()
    rebuild(store, encoder)
    serving.erase_subject("s3")
    assert all(c.subject != "s3" for c in serving.identify(OLD.encode([walk(3)])[0], limit=50))
    assert serving.verify("s4", OLD.encode([walk(4)])[0]).distance == 0
    assert (serving.status().model_id, serving.status().in_sync) == ("model-old", True)
    assert serving.size().samples == serving.status().samples == 22
    with pytest.raises(ModelMismatch):
        enroll(serving, OLD, 60)
    upgraded = open_gallery(tmp_path, encoder)
    enroll(upgraded, encoder, 61)
    for ask in (serving.identify, partial(serving.verify, "s4")):
        with pytest.raises(ModelMismatch):
            ask(OLD.encode([walk(4)])[0])
    assert rebuild(store, OLD).embedded == 1
    assert_finds(serving, OLD, [4, 61])
    serving.close()
    upgraded.close()


def test_an_old_generation_that_was_dropped_answers_no_more(tmp_path, store):
    serving = open_gallery(tmp_path, OLD)
    rebuild(store, new_encoder())
    drop_others(store)
    with pytest.raises(ModelMismatch):
        serving.identify(OLD.encode([walk(0)])[0])
    serving.close()


def test_walks_are_batched_with_those_of_like_length():
    lengths = enumerate([9, 2, 8, 3, 7])
    walks = [Walk(row, np.zeros((frames, 8, 6), np.uint8)) for row, frames in lengths]
    lengths = [[one.silhouettes.shape[0] for one in some] for some in in_batches(walks, 2)]
    assert lengths == [[2, 3], [7, 8], [9]]


def test_a_rebuild_with_the_live_model_does_nothing(store):
    report = rebuild(store, OLD)
    assert (report.embedded, report.switched) == (0, False)


def test_a_generation_that_misses_a_sample_does_not_go_live(store):
    generation = begin(store, Model("model-new", 6))
    before = store.head()
    assert switch(store, generation) is None
    assert store.head() == before


def test_samples_without_silhouettes_make_it_refuse_and_are_counted(tmp_path, store):
    gallery = open_gallery(tmp_path, OLD)
    for seed in (50, 51):
        gallery.enroll(f"s{seed}", OLD.encode([walk(seed)])[0], silhouettes=None)
    with pytest.raises(RebuildRefused, match="2 samples of which the embedding alone is kept"):
        rebuild(store, new_encoder())
    assert gallery.status().in_sync
    gallery.close()


def test_a_model_that_takes_another_size_is_refused_before_it_is_asked(store):
    encoder = new_encoder()
    encoder.facts.size = (64, 44)
    with pytest.raises(
        RebuildRefused, match="64 x 44 pixels, which model-new takes, got some of 8 x 6"
    ):
        rebuild(store, encoder)
    assert encoder.encoded == 0
    with store.database.reading() as connection:
        begun = select(generations.c.id).where(generations.c.gallery == store.gallery_id)
        assert len(connection.execute(begun).all()) == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.full((23, 6), np.nan, np.float32), "finite"),
        (np.full((23, 6), 1e20, np.float32), "finite numbers up to 65504, got one of 1e[+]20"),
        (np.zeros((23, 5), np.float32), r"expected embeddings float32 \[23, 6\]"),
        (np.zeros((22, 6), np.float32), r"got float32 \[22, 6\]"),
        (np.zeros((23, 6)), "got float64"),
    ],
)
def test_a_model_that_answers_nonsense_never_goes_live(store, bad, says):
    encoder = SimpleNamespace(facts=new_encoder().facts, encode=lambda walks: bad)
    with pytest.raises(RebuildFailed, match=says):
        rebuild(store, encoder, batch=30)
    assert store.head().model.model_id == "model-old"


def test_a_generation_that_changed_on_the_disk_fails_the_self_search(tmp_path, store):
    def die_at_the_second_batch(_walks):
        if dying.encoded == 12:
            raise KilledError

    dying = new_encoder(die_at_the_second_batch)
    with pytest.raises(KilledError):
        rebuild(store, dying, batch=12)
    with closing(sqlite3.connect(tmp_path / "metagait.db")) as raw, raw:
        nan = np.full(6, np.nan, "<f4").tobytes()
        changed = "UPDATE embeddings SET vector = ? WHERE generation = 2"
        assert raw.execute(changed, [nan]).rowcount == 12
    with pytest.raises(RebuildFailed, match="got 6 that are NaN or infinite: drop"):
        rebuild(store, new_encoder(), batch=12)
    assert store.head().model.model_id == "model-old"


def test_a_sample_that_finds_another_nearer_fails_the_self_search():
    def chunk(*values):
        rows = np.arange(1, len(values) + 1)
        vectors = np.array([[value, 0.0] for value in values], np.float32)
        return Chunk(rows, vectors, ["s"] * len(values), ["x"] * len(values))

    search = _SelfSearch([chunk(1.0, 2.0)], 2)
    search.see(chunk(1.0, 2.0, 3.0))
    search.check()
    moved = _SelfSearch([chunk(1.0, 2.0)], 2)
    moved.see(chunk(1.0, 5.0, 2.5))  # what is stored of the second is not what was read of it
    with pytest.raises(RebuildFailed, match="row 2 to find itself, got row 3 nearer"):
        moved.check()
