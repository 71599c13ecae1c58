import argparse
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gallery import (
    Gallery,
    GallerySize,
    ModelMismatch,
    RebuildFailed,
    RebuildRefused,
    StoreUnavailable,
    WrongMasterKey,
)
from gallery.commands.rebuild import configure, run
from gallery.embedding import in_batches
from gallery.following import Chunk
from gallery.generations import Model
from gallery.master_keys import write_master_key
from gallery.next_generation import Walk, begin, drop_others, roll_back, switch
from gallery.packing import PackedSilhouettes
from gallery.rebuild import rebuild
from gallery.self_search import _SelfSearch
from gallery.store import Store

ROOT = Path(__file__).parent.parent


class FakeEncoder:
    """An embedding that can be worked out by hand: moments of the pixels, times a factor."""

    def __init__(self, model_id, length, factor, during=lambda walks: None):
        self.facts = SimpleNamespace(model_id=model_id, embedding_length=length)
        self.factor = factor
        self.during = during
        self.encoded = 0

    def encode(self, walks):
        self.during(walks)
        self.encoded += len(walks)
        return np.stack([self._one(walk) for walk in walks])

    def _one(self, walk):
        pixels = walk.reshape(-1).astype(np.float32) / 255
        powers = np.arange(1, self.facts.embedding_length + 1)
        return (self.factor * np.array([(pixels**p).mean() for p in powers])).astype(np.float32)


OLD = FakeEncoder("model-old", 4, 1.0)


def new_encoder(during=lambda walks: None):
    return FakeEncoder("model-new", 6, -3.0, during)


def walk(seed):
    frames = 3 + seed % 4
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


def open_gallery(folder, encoder):
    facts = encoder.facts
    return Gallery.open(folder, model_id=facts.model_id, embedding_length=facts.embedding_length)


def enroll(gallery, encoder, seed):
    (embedding,) = encoder.encode([walk(seed)])
    return gallery.enroll(f"s{seed}", embedding, silhouettes=walk(seed))


def assert_finds(gallery, encoder, seeds):
    for seed in seeds:
        found = gallery.identify(encoder.encode([walk(seed)])[0], limit=1)[0]
        assert (found.subject, found.distance) == (f"s{seed}", pytest.approx(0, abs=1e-6))


@pytest.fixture
def store(tmp_path):
    gallery = open_gallery(tmp_path, OLD)
    for seed in range(23):
        enroll(gallery, OLD, seed)
    gallery.close()
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


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
    walks = [Walk(row, PackedSilhouettes((frames, 8, 6), b"")) for row, frames in
             enumerate([9, 2, 8, 3, 7])]  # fmt: skip
    lengths = [[one.silhouettes.shape[0] for one in some] for some in in_batches(walks, 2)]
    assert lengths == [[2, 3], [7, 8], [9]]


def test_a_rebuild_with_the_live_model_does_nothing(store):
    report = rebuild(store, OLD)
    assert (report.embedded, report.switched) == (0, False)


def test_enrolments_and_erasures_that_arrive_meanwhile_are_in_the_new_generation(tmp_path, store):
    serving = open_gallery(tmp_path, OLD)
    arriving = iter([100, 101, None, None, None, None, 102])

    def while_it_encodes(_walks):
        assert_finds(serving, OLD, [20])  # the service goes on answering
        seed = next(arriving, None)
        if seed is not None:
            enroll(serving, OLD, seed)
            serving.erase_subject(f"s{seed - 100}")  # s0 is in the batch that is being encoded

    encoder = new_encoder(while_it_encodes)
    report = rebuild(store, encoder, batch=4)
    serving.close()
    encoder.during = lambda walks: None
    upgraded = open_gallery(tmp_path, encoder)
    assert report.switched
    assert_finds(upgraded, encoder, [*range(3, 23), 100, 101, 102])
    status = upgraded.status()
    assert (status.samples, status.indexed, status.in_sync) == (23, 23, True)
    upgraded.close()


class VisitedStore(Store):
    """Somebody enrols each time the samples are counted, as long as there is somebody."""

    visitors = ()

    def counts(self, connection, generation):
        counted = super().counts(connection, generation)
        if self.visitors:
            gallery, seed = self.visitors.pop(0)
            enroll(gallery, OLD, seed)
        return counted


def test_who_enrols_between_the_check_and_the_switch_is_embedded_first(tmp_path, store):
    serving, visited, encoder = (
        open_gallery(tmp_path, OLD),
        VisitedStore.open(tmp_path),
        new_encoder(),
    )
    visited.visitors = [(serving, 200), (serving, 201), (serving, 202)]
    assert rebuild(visited, encoder).embedded == 26
    upgraded = open_gallery(tmp_path, encoder)
    assert_finds(upgraded, encoder, [*range(23), 200, 201, 202])
    for opened in (serving, visited, upgraded):
        opened.close()


def test_a_generation_that_misses_a_sample_does_not_go_live(store):
    generation = begin(store, Model("model-new", 6))
    before = store.head()
    assert not switch(store, generation)
    assert store.head() == before


class KilledError(Exception):
    pass


def test_a_rebuild_that_died_is_continued(tmp_path, store):
    def die_at_the_third_batch(_walks):
        if dying.encoded == 10:
            raise KilledError

    dying = new_encoder(die_at_the_third_batch)
    with pytest.raises(KilledError):
        rebuild(store, dying, batch=5)
    serving = open_gallery(tmp_path, OLD)
    assert_finds(serving, OLD, range(23))
    serving.close()
    fresh, seen = new_encoder(), []
    report = rebuild(store, fresh, batch=5, progress=lambda done, total: seen.append(done))
    assert (report.embedded, fresh.encoded) == (13, 13)
    assert seen == [15, 20, 23]


def test_samples_without_silhouettes_make_it_refuse_and_are_counted(tmp_path, store):
    gallery = open_gallery(tmp_path, OLD)
    for seed in (50, 51):
        gallery.enroll(f"s{seed}", OLD.encode([walk(seed)])[0], silhouettes=None)
    with pytest.raises(RebuildRefused, match="2 samples enrolled by their embedding alone"):
        rebuild(store, new_encoder())
    assert gallery.status().in_sync
    gallery.close()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.full((23, 6), np.nan, np.float32), "finite"),
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
    with pytest.raises(RebuildFailed, match="got others in sample row 1: drop"):
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


REBUILD_SLOWLY = """
import sys, time
from tests.test_rebuild import new_encoder
from gallery.rebuild import rebuild
from gallery.store import Store

rebuild(Store.open(sys.argv[1]), new_encoder(lambda walks: time.sleep(0.02)), batch=4,
        progress=lambda done, total: print(done, flush=True))
"""


def test_a_rebuild_that_was_killed_is_continued_by_the_next(tmp_path):
    gallery = open_gallery(tmp_path, OLD)
    for seed in range(90):
        enroll(gallery, OLD, seed)
    gallery.close()
    command = [sys.executable, "-c", REBUILD_SLOWLY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert any(int(line) >= 80 for line in process.stdout)
        process.kill()
    with closing(Store.open(tmp_path)) as store:
        encoder = new_encoder()
        report = rebuild(store, encoder)
    assert report.switched
    assert report.embedded <= 90 - 32, "what was written before the kill is not embedded again"
    upgraded = open_gallery(tmp_path, encoder)
    assert_finds(upgraded, encoder, range(0, 90, 9))
    assert upgraded.status().in_sync
    upgraded.close()


def test_a_rollback_that_would_lose_samples_is_refused_and_says_how_to_go_on(tmp_path, store):
    with pytest.raises(RebuildRefused, match="keeps none"):
        roll_back(store)
    encoder = new_encoder()
    rebuild(store, encoder)
    upgraded = open_gallery(tmp_path, encoder)
    enroll(upgraded, encoder, 77)
    upgraded.close()
    with pytest.raises(RebuildRefused, match="1 enrolled since"):
        roll_back(store)
    report = rebuild(store, OLD)
    assert (report.embedded, report.generation) == (1, 1), "only what the old one did not know"
    serving = open_gallery(tmp_path, OLD)
    assert_finds(serving, OLD, [*range(23), 77])
    serving.close()


def test_dropping_frees_the_old_generation_and_its_bytes(tmp_path, store):
    needle = OLD.encode([walk(7)])[0].tobytes()
    rebuild(store, new_encoder())
    assert any(needle in path.read_bytes() for path in tmp_path.iterdir())
    assert drop_others(store) == 1
    assert not any(needle in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(RebuildRefused):
        roll_back(store)


def test_dropping_a_generation_that_is_being_built_stops_its_rebuild(store):
    encoder = new_encoder(lambda walks: drop_others(store))
    with pytest.raises(RebuildFailed, match="dropped meanwhile"):
        rebuild(store, encoder)


def test_an_erased_subject_is_gone_from_the_kept_generation_too(tmp_path, store):
    encoder = new_encoder()
    rebuild(store, encoder)
    upgraded = open_gallery(tmp_path, encoder)
    upgraded.erase_subject("s7")
    upgraded.close()
    roll_back(store)
    serving = open_gallery(tmp_path, OLD)
    assert all(c.subject != "s7" for c in serving.identify(OLD.encode([walk(7)])[0], limit=50))
    assert serving.status().samples == 22
    serving.close()


def arguments_of(*words):
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args(words)


def test_the_command_rolls_back_and_drops(tmp_path, store, capsys):
    rebuild(store, new_encoder())
    assert run(arguments_of("--data", str(tmp_path), "--rollback")) == 0
    assert run(arguments_of("--data", str(tmp_path), "--drop-old")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "The gallery main answers with model-old again.",
        "Dropped 1 generations.",
    ]


def test_the_command_makes_no_gallery_where_there_is_none(tmp_path):
    with pytest.raises(StoreUnavailable, match="expected a gallery in the folder"):
        run(arguments_of("--data", str(tmp_path / "nowhere"), "--rollback"))
    assert list(tmp_path.iterdir()) == []


def test_an_encrypted_gallery_is_rebuilt_and_returned_with_its_master_key(tmp_path, monkeypatch):
    data, key_file = tmp_path / "data", tmp_path / "key"
    key = write_master_key(key_file)
    facts = OLD.facts
    gallery = Gallery.open(
        data, model_id=facts.model_id, embedding_length=facts.embedding_length, master_key=key
    )
    for seed in range(3):
        enroll(gallery, OLD, seed)
    encoder = new_encoder()
    with closing(Store.open(data, master_key=key)) as store:
        assert rebuild(store, encoder).embedded == 3
        needles = [vector.tobytes() for vector in encoder.encode([walk(n) for n in range(3)])]
    stored = b"".join(path.read_bytes() for path in data.iterdir())
    assert not any(needle in stored for needle in needles)
    with pytest.raises(WrongMasterKey, match="METAGAIT_MASTER_KEY_FILE"):
        run(arguments_of("--data", str(data), "--rollback"))
    monkeypatch.setenv("METAGAIT_MASTER_KEY_FILE", str(key_file))
    assert run(arguments_of("--data", str(data), "--rollback")) == 0
    assert_finds(gallery, OLD, range(3))
    gallery.close()
