"""An erasure, its receipt, and what is left afterwards: nothing."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest
from sqlalchemy import insert, select, text, update

from gallery import Consent, Gallery, ReceiptNotFound
from gallery.indexes.choose import IndexChoice
from gallery.packing import pack_silhouettes
from gallery.schema import embeddings, receipts, samples, subjects

LENGTH = 64


def open_gallery(location, **options):
    return Gallery.open(location, model_id="model-a", embedding_length=LENGTH, **options)


def embedding(seed):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


def walk(seed, frames=12):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


@pytest.fixture
def gallery(location):
    opened = open_gallery(location)
    for seed in range(6):
        who = "anna" if seed % 2 else "ben"
        opened.enroll(who, embedding(seed), silhouettes=walk(seed))
    yield opened
    opened.close()


def test_a_receipt_counts_what_went_and_finds_nothing_left(gallery, location):
    gallery.set_consent("anna", Consent("consent", "paper 7"))
    erasure = gallery.erase_subject("anna")
    receipt, proof = erasure.receipt, erasure.receipt.proof
    assert (erasure.subject, erasure.samples, receipt.subject_erased) == ("anna", 3, True)
    assert (receipt.samples, receipt.silhouettes, receipt.consents) == (3, 3, 1)
    assert receipt.embeddings == {"1": 3}
    assert (proof.rows, proof.found, proof.indexed, proof.searches) == (0, 0, 0, 3)
    assert proof.files == ("vacuumed" if isinstance(location, str) else "overwritten")
    assert gallery.receipt(receipt.receipt_id) == receipt
    assert all(c.subject == "ben" for c in gallery.identify(embedding(1)))


def test_who_has_more_samples_than_a_question_can_name_is_erased(gallery):
    store, many = gallery._store, 70_000  # PostgreSQL takes 65,535 values of a question
    with store.database.writing() as connection:
        owner = connection.scalar(select(subjects.c.id).where(subjects.c.subject == "anna"))
        sample = {"gallery": store.gallery_id, "subject": owner, "frames": 0, "metadata": "{}"}
        sample["created_at"] = "2026-11-29T00:00:00.000+00:00"
        rows = [{**sample, "sample_id": f"{number:032x}"} for number in range(many)]
        connection.execute(insert(samples), rows)
    receipt = gallery.erase_subject("anna").receipt
    assert (receipt.samples, receipt.silhouettes, receipt.proof.rows) == (many + 3, 3, 0)
    assert [summary.subject for summary in gallery.subjects()] == ["ben"]


def test_a_receipt_names_nobody_and_still_shows_whose_it_is(gallery):
    erasure = gallery.erase_subject("anna")
    with gallery._store.database.reading() as connection:
        body = connection.scalar(select(receipts.c.body))
        tables = [text(f"SELECT * FROM {name}") for name in ("audit", "receipts", "changes")]
        kept = [str(row) for table in tables for row in connection.execute(table)]
    assert "anna" not in body
    assert erasure.salt not in "".join(kept)
    assert "anna" not in "".join(kept)
    shown = hashlib.sha256(f"{erasure.salt}anna".encode()).hexdigest()
    assert shown == erasure.receipt.subject_digest
    again = gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    assert again.created_subject
    assert gallery.erase_subject("anna").receipt.subject_digest != shown


def test_one_sample_is_erased_and_the_subject_with_the_last(gallery):
    samples = gallery.subject("anna").samples
    first = gallery.erase_sample(samples[0].sample_id)
    assert (first.samples, first.receipt.subject_erased, first.receipt.proof.rows) == (1, False, 0)
    gallery.erase_sample(samples[1].sample_id)
    last = gallery.erase_sample(samples[2].sample_id)
    assert (last.receipt.subject_erased, last.receipt.proof.found) == (True, 0)
    assert [summary.subject for summary in gallery.subjects()] == ["ben"]


def test_who_cannot_be_read_any_more_can_be_erased_all_the_same(gallery):
    with gallery._store.database.writing() as connection:
        connection.execute(update(embeddings).values(vector=b"damaged"))
    proof = gallery.erase_subject("anna").receipt.proof
    assert (proof.rows, proof.searches, proof.indexed) == (0, 0, 0)
    assert [summary.subject for summary in gallery.subjects()] == ["ben"]


def test_a_receipt_that_is_none_is_a_sentence(gallery):
    with pytest.raises(ReceiptNotFound, match="expected a receipt of the gallery main"):
        gallery.receipt("0123")


def test_a_receipt_outlives_the_service(location):
    gallery = open_gallery(location)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    receipt = gallery.erase_subject("anna").receipt
    gallery.close()
    again = open_gallery(location)
    assert again.receipt(receipt.receipt_id) == receipt
    assert json.dumps(asdict(receipt), default=str)
    again.close()


class ForgetfulIndex:
    """Not an index that works: it says that rows are gone, and goes on returning them."""

    def __init__(self, index):
        self._index = index

    def __getattr__(self, name):
        return getattr(self._index, name)

    def __len__(self):
        return len(self._index)

    def remove(self, rows):
        pass


def test_a_proof_is_looked_for_and_not_assumed(tmp_path):
    from gallery.index import ExactIndex

    gallery = open_gallery(tmp_path, index=ForgetfulIndex(ExactIndex(LENGTH)))
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    gallery.enroll("ben", embedding(2), silhouettes=walk(2))
    proof = gallery.erase_subject("anna").receipt.proof
    assert (proof.searches, proof.found) == (1, 1)
    gallery.close()


def test_erased_people_leave_no_bytes_in_any_file_of_the_folder(tmp_path):
    gallery = open_gallery(tmp_path)
    other = open_gallery(tmp_path)  # a second process would hold the write-ahead log open as well
    for seed in range(8):
        gallery.enroll("anna", embedding(seed), silhouettes=walk(seed, frames=90))
        gallery.enroll("ben", embedding(100 + seed), silhouettes=walk(100 + seed, frames=90))
    other.identify(embedding(0))
    traces = [
        trace
        for seed in range(8)
        for trace in (embedding(seed).tobytes(), pack_silhouettes(walk(seed, 90)).data, b"anna")
    ]
    assert all(anywhere(tmp_path, trace) for trace in traces), "the search itself works"
    assert gallery.erase_subject("anna").receipt.proof.files == "overwritten"
    assert not any(anywhere(tmp_path, trace) for trace in traces)
    other.close()
    gallery.close()
    assert not any(anywhere(tmp_path, trace) for trace in traces)


@pytest.mark.parametrize(("kind", "model"), [("exact", "model-a"), ("compact", "model-b")])
def test_the_files_of_an_index_that_was_left_forget_the_erased_as_well(tmp_path, kind, model):
    def opened(kind, model):
        choice = IndexChoice(kind=kind, folder=tmp_path / "index")
        return Gallery.open(tmp_path, model_id=model, embedding_length=LENGTH, index=choice)

    before = opened("compact", "model-a")
    before.enroll("anna", embedding(1), silhouettes=None)
    before.enroll("ben", embedding(2), silhouettes=None)
    trace = embedding(1).tobytes()
    after = opened(kind, model)  # the one before still answers, as after a rebuild
    assert anywhere(tmp_path / "index", trace)
    assert after.erase_subject("anna").receipt.proof.files == "pending"
    before.close()
    assert anywhere(tmp_path / "index", trace), "the search itself works"
    assert after.erase_subject("ben").receipt.proof.files == "overwritten"
    assert not anywhere(tmp_path, trace)
    after.close()


def test_another_kind_of_index_leaves_no_embeddings_of_the_one_before(tmp_path):
    for kind in ("compact", "exact"):
        choice = IndexChoice(kind=kind, folder=tmp_path / "index")
        gallery = open_gallery(tmp_path, index=choice)
        gallery.enroll("anna", embedding(1), silhouettes=None)
        gallery.close()
        there = anywhere(tmp_path / "index", embedding(1).tobytes())
        assert there == (kind == "compact")


def anywhere(folder, trace):
    """Look in every file for three pieces of a trace: a long one lies in linked pages."""
    places = (0, len(trace) // 2, len(trace) - 48) if len(trace) > 96 else (0,)
    needles = {trace[place : place + 48] for place in places}
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return any(needle in content for needle in needles for content in contents)
