"""A gallery: who is enrolled is found, verified, listed, and erased without a trace."""

import os

import numpy as np
import pytest

from gallery import (
    Gallery,
    IndexChoice,
    InvalidEmbedding,
    InvalidLimit,
    InvalidText,
    NotFound,
    SampleNotFound,
    SilhouettesNotKept,
    SubjectNotFound,
)
from gallery.checks import EMBEDDING_LARGEST
from gallery.packing import pack_silhouettes
from tests.galleries import LENGTH, embedding, open_gallery, walk


@pytest.fixture
def gallery(location):
    opened = open_gallery(location)
    yield opened
    opened.close()


def test_an_enrolled_walk_is_found_verified_and_described(gallery):
    enrolment = gallery.enroll(
        "anna", embedding(1), silhouettes=walk(1), metadata={"view": 90, "condition": "nm"}
    )
    sample = enrolment.sample
    assert (enrolment.created_subject, enrolment.duplicate) == (True, False)
    assert (sample.subject, sample.frames, sample.model_id) == ("anna", 4, "model-a")
    assert sample.metadata == {"view": 90, "condition": "nm"}
    assert sample.created_at.utcoffset().total_seconds() == 0

    gallery.enroll("ben", embedding(2), silhouettes=walk(2))
    first, second = gallery.identify(embedding(1))
    assert (first.rank, first.subject, first.distance) == (1, "anna", 0.0)
    assert first.sample_id == sample.sample_id
    expected = float(np.linalg.norm(embedding(1) - embedding(2)))
    assert (second.subject, second.distance) == ("ben", pytest.approx(expected))
    assert gallery.verify("ben", embedding(1)).distance == pytest.approx(expected)

    assert gallery.subject("anna").samples == (sample,)
    np.testing.assert_array_equal(gallery.silhouettes(sample.sample_id), walk(1))


def test_verify_takes_the_nearest_sample_of_the_subject(gallery):
    for seed in range(5):
        gallery.enroll("anna", embedding(seed), silhouettes=walk(seed))
    probe = embedding(100)
    expected = min(float(np.linalg.norm(embedding(seed) - probe)) for seed in range(5))
    assert gallery.verify("anna", probe).distance == pytest.approx(expected)


def test_the_same_walk_of_the_same_subject_is_one_sample(gallery):
    first = gallery.enroll("anna", embedding(1), silhouettes=walk(1), metadata={"view": 0})
    again = gallery.enroll("anna", embedding(2), silhouettes=walk(1), metadata={"view": 9})
    assert (again.duplicate, again.created_subject, again.sample) == (True, False, first.sample)
    assert gallery.verify("anna", embedding(1)).distance == 0
    somebody_else = gallery.enroll("ben", embedding(1), silhouettes=walk(1))
    assert not somebody_else.duplicate
    assert gallery.status().samples == 2


def test_a_walk_that_is_enrolled_is_known_before_it_is_embedded(gallery):
    first = gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    known = gallery.enrolled_before("anna", walk(1))
    assert (known.duplicate, known.created_subject, known.sample) == (True, False, first.sample)
    assert gallery.enrolled_before("anna", walk(2)) is None
    assert gallery.enrolled_before("ben", walk(1)) is None
    gallery.erase_sample(first.sample.sample_id)
    assert gallery.enrolled_before("anna", walk(1)) is None


def test_a_sample_without_silhouettes_says_so(gallery):
    sample = gallery.enroll("anna", embedding(1), silhouettes=None).sample
    assert sample.frames == 0
    assert gallery.enroll("anna", embedding(1), silhouettes=None).duplicate
    with pytest.raises(SilhouettesNotKept, match="embedding alone"):
        gallery.silhouettes(sample.sample_id)


def test_subjects_come_in_pages(gallery):
    for number in range(7):
        for seed in range(number % 3 + 1):
            gallery.enroll(f"s{number}", embedding(seed), silhouettes=walk(10 * number + seed))
    listed, after = [], None
    while page := gallery.subjects(limit=3, after=after):
        listed += page
        after = page[-1].subject
    assert [summary.subject for summary in listed] == [f"s{number}" for number in range(7)]
    assert [summary.samples for summary in listed] == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros(LENGTH - 1, np.float32), rf"expected an embedding float32 \[{LENGTH}\]"),
        (np.zeros((1, LENGTH), np.float32), r"got float32 \[1, 8\]"),
        (np.zeros(LENGTH), "got float64"),
        (np.full(LENGTH, np.nan, np.float32), "8 that are NaN"),
        (np.full(LENGTH, -1e20, np.float32), "finite numbers up to 65504, got one of 1e[+]20"),
    ],
)
def test_embeddings_are_checked_at_the_door(gallery, bad, says):
    for ask in (
        lambda: gallery.enroll("anna", bad, silhouettes=None),
        lambda: gallery.identify(bad),
        lambda: gallery.verify("anna", bad),
    ):
        with pytest.raises(InvalidEmbedding, match=says):
            ask()
    assert gallery.status().samples == 0


@pytest.mark.parametrize("kind", ["exact", "compact"])
def test_the_largest_embeddings_that_pass_the_door_are_found(tmp_path, kind):
    choice = IndexChoice(kind=kind, folder=tmp_path / "index")
    gallery = Gallery.open(tmp_path, model_id="model-a", embedding_length=LENGTH, index=choice)
    largest = np.full(LENGTH, EMBEDDING_LARGEST, np.float32)
    for subject, vector in (("anna", largest), ("ben", -largest), ("carl", embedding(1))):
        gallery.enroll(subject, vector, silhouettes=None)
    nearest, *others = gallery.identify(largest)
    assert (nearest.subject, nearest.distance) == ("anna", 0)
    assert [one.subject for one in others] == ["carl", "ben"]
    assert others[1].distance == pytest.approx(2 * EMBEDDING_LARGEST * LENGTH**0.5)
    gallery.close()


def test_ids_that_no_database_holds_are_the_caller_s_mistake(location):
    gallery = open_gallery(location)
    for ask in (gallery.subject, gallery.erase_subject, gallery.silhouettes, gallery.receipt):
        with pytest.raises((NotFound, InvalidText), match="expected"):
            ask("anna\0")
    gallery.close()


def test_who_and_what_is_not_there_is_named(gallery):
    with pytest.raises(SubjectNotFound, match="'anna'"):
        gallery.verify("anna", embedding(0))
    for ask in (gallery.subject, gallery.erase_subject):
        with pytest.raises(SubjectNotFound, match="'anna'"):
            ask("anna")
    for ask in (gallery.silhouettes, gallery.erase_sample):
        with pytest.raises(SampleNotFound, match="'0123'"):
            ask("0123")
    for limit in (0, -1):
        with pytest.raises(InvalidLimit):
            gallery.identify(embedding(0), limit=limit)
        with pytest.raises(InvalidLimit):
            gallery.subjects(limit=limit)


def test_an_empty_gallery_names_nobody_and_is_in_sync(gallery):
    assert gallery.identify(embedding(0)) == ()
    status = gallery.status()
    assert (status.subjects, status.samples, status.indexed) == (0, 0, 0)
    assert status.in_sync


def test_erasing_takes_the_subject_with_its_last_sample(gallery):
    ids = [
        gallery.enroll("anna", embedding(seed), silhouettes=walk(seed)).sample.sample_id
        for seed in range(2)
    ]
    assert (gallery.erase_sample(ids[0]).subject, gallery.status().samples) == ("anna", 1)
    assert gallery.identify(embedding(0))[0].sample_id == ids[1]
    gallery.erase_sample(ids[1])
    assert gallery.subjects() == ()
    assert gallery.identify(embedding(0)) == ()
    assert gallery.enroll("anna", embedding(0), silhouettes=walk(0)).created_subject


@pytest.mark.parametrize("length", [16, 8192])
def test_erased_people_leave_no_bytes_in_the_files(tmp_path, length):
    gallery = open_gallery(tmp_path, length=length)
    everybody = ["anna", "ben", "cem"]
    for number in range(24):
        who = everybody[number % 3]
        gallery.enroll(who, embedding(number, length), silhouettes=walk(number, frames=30))
    traces = {
        who: [
            trace
            for number in range(24)
            if everybody[number % 3] == who
            for trace in (
                embedding(number, length).tobytes(),
                pack_silhouettes(walk(number, 30)).data,
            )
        ]
        for who in everybody
    }
    assert all(in_files(tmp_path, trace) for trace in traces["anna"]), "the search itself works"
    assert gallery.erase_subject("anna").samples == 8
    assert not any(in_files(tmp_path, trace) for trace in traces["anna"])
    for sample in gallery.subject("ben").samples:
        gallery.erase_sample(sample.sample_id)
    assert not any(in_files(tmp_path, trace) for trace in traces["ben"])
    assert len(gallery.identify(embedding(2, length))) == 1
    gallery.close()
    assert not any(in_files(tmp_path, trace) for trace in traces["anna"] + traces["ben"])


def in_files(folder, trace):
    """Look for a trace's start, because a long value lies in linked pages, not in one piece."""
    needle = trace[:64]
    return any(needle in path.read_bytes() for path in folder.iterdir())


def test_a_gallery_leaves_no_lock_behind(tmp_path):
    gallery = open_gallery(tmp_path)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    gallery.close()
    assert os.listdir(tmp_path) == ["metagait.db"]
