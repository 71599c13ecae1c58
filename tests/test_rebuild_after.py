"""After a rebuild: rolling back, dropping what is old, and the command that does both."""

import argparse
from contextlib import closing

import pytest

from gallery import (
    Gallery,
    IndexUnavailable,
    ModelMismatch,
    RebuildFailed,
    RebuildRefused,
    StoreUnavailable,
    WrongMasterKey,
)
from gallery.calibration import calibrate, is_calibrated
from gallery.commands.rebuild import configure, run, sentence
from gallery.index import ExactIndex
from gallery.master_keys import write_master_key
from gallery.next_generation import drop_others, roll_back
from gallery.rebuild import rebuild
from gallery.store import Store
from tests.rebuilding import (
    OLD,
    FakeEncoder,
    assert_finds,
    enroll,
    new_encoder,
    open_gallery,
    opened_store,
    walk,
)


@pytest.fixture
def store(tmp_path):
    with opened_store(tmp_path) as opened:
        yield opened


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
    assert run(arguments_of("--data", str(tmp_path), "--drop-old")) == 0
    assert not any(needle in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(RebuildRefused):
        roll_back(store)


def test_a_model_whose_generation_was_dropped_is_remembered_as_replaced(tmp_path, store):
    with closing(open_gallery(tmp_path, OLD)) as gallery:
        assert not gallery.was_replaced()
        rebuild(store, new_encoder())
        assert gallery.was_replaced()
        drop_others(store)
        assert gallery.was_replaced()
        rebuild(store, OLD)
        assert not gallery.was_replaced()


def test_a_rebuild_says_that_it_leaves_the_calibration_behind(store):
    encoder = new_encoder()
    assert not rebuild(store, encoder).leaves_calibration, "there was none"
    calibrate(store, 0.45)
    report = rebuild(store, OLD)
    assert report.leaves_calibration
    assert "`metagait calibrate` is run again" in sentence(report, "onnxruntime", "cpu")
    roll_back(store)
    assert is_calibrated(store), "a rollback brings it back"


class Keeping(ExactIndex):
    """An index that keeps its generations elsewhere, by name, as Milvus does."""

    def __init__(self, length, kept):
        super().__init__(length)
        self._kept = kept

    def begin(self, name, retired=()):
        self._kept.difference_update(retired)
        self._kept.add(name)
        self._name = name
        return super().begin(name)

    def search(self, vector, k):
        if self._name not in self._kept:
            raise IndexUnavailable(f"expected {self._name}, which is gone")
        return super().search(vector, k)


def test_an_index_elsewhere_hears_of_a_generation_that_was_dropped_meanwhile(tmp_path, store):
    encoder, kept = new_encoder(), set()

    def serve(encoder):
        model = {
            "model_id": encoder.facts.model_id,
            "embedding_length": encoder.facts.embedding_length,
        }
        Gallery.open(tmp_path, **model, index=Keeping(encoder.facts.embedding_length, kept)).close()

    serve(OLD)
    (first,) = kept
    rebuild(store, encoder)
    assert drop_others(store) == 1
    assert drop_others(store) == 0
    serve(encoder)
    assert len(kept - {first}) == len(kept) == 1
    assert rebuild(store, OLD).embedded == 23, "nothing was left of it"
    assert drop_others(store) == 1


def enroll_again(gallery, embedding):
    gallery.enroll("s3", embedding, silhouettes=walk(60))


@pytest.mark.parametrize("ask", [Gallery.identify, enroll_again])
def test_a_replica_whose_generation_another_let_go_of_says_which_model_answers(
    tmp_path, store, ask
):
    encoder, kept = new_encoder(), set()
    old = open_gallery(tmp_path, OLD, index=Keeping(4, kept))
    rebuild(store, encoder)
    assert_finds(old, OLD, range(23))
    new = open_gallery(tmp_path, encoder, index=Keeping(6, kept))
    with pytest.raises(ModelMismatch, match="one embedded by model-new"):
        ask(old, OLD.encode([walk(60)])[0])
    assert_finds(new, encoder, range(23))
    kept.clear()
    with pytest.raises(IndexUnavailable, match="which is gone"):  # nobody else's doing
        new.identify(encoder.encode([walk(3)])[0])
    old.close()
    new.close()


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


def test_a_receipt_counts_no_search_by_what_another_model_embedded(tmp_path, store):
    replica = open_gallery(tmp_path, OLD)
    rebuild(store, FakeEncoder("model-new", OLD.facts.embedding_length, -3.0))
    proof = replica.erase_subject("s3").receipt.proof
    assert (proof.searches, proof.found, proof.indexed, proof.rows) == (0, 0, 0, 0)
    replica.close()


def test_the_command_rolls_back_and_drops(tmp_path, store, capsys):
    rebuild(store, new_encoder())
    assert run(arguments_of("--data", str(tmp_path), "--rollback")) == 0
    assert run(arguments_of("--data", str(tmp_path), "--drop-old")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "The gallery main answers with model-old again.",
        "Dropped 1 generation.",
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
