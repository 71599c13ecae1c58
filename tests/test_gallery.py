import os
import subprocess
import sys

import numpy as np
import pytest

from gallery import (
    Gallery,
    GallerySize,
    InvalidEmbedding,
    InvalidLimit,
    ModelMismatch,
    SampleNotFound,
    SilhouettesNotKept,
    SubjectNotFound,
)
from gallery.following import CHUNK
from gallery.index import ExactIndex
from gallery.packing import pack_silhouettes
from tests.counting import noted_counts

LENGTH = 8


def open_gallery(folder, model_id="model-a", length=LENGTH, **options):
    return Gallery.open(folder, model_id=model_id, embedding_length=length, **options)


@pytest.fixture
def gallery(location):
    opened = open_gallery(location)
    yield opened
    opened.close()


def embedding(seed, length=LENGTH):
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def walk(seed, frames=4):
    return np.random.default_rng(seed).integers(0, 256, (frames, 8, 6), dtype=np.uint8)


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


def test_two_galleries_on_one_file_see_each_others_writes(location):
    here, there = open_gallery(location), open_gallery(location)
    here.enroll("anna", embedding(1), silhouettes=walk(1))
    assert there.identify(embedding(1))[0].subject == "anna"
    sample = there.enroll("ben", embedding(2), silhouettes=walk(2)).sample
    assert here.identify(embedding(2))[0].subject == "ben"
    here.erase_subject("anna")
    assert [c.subject for c in there.identify(embedding(1))] == ["ben"]
    there.erase_sample(sample.sample_id)
    for gallery in (here, there):
        assert gallery.identify(embedding(1)) == ()
        assert gallery.status().in_sync
        gallery.close()


ENROLL_AND_ERASE = """
import sys
import numpy as np
from gallery import Gallery

gallery = Gallery.open(sys.argv[1], model_id="model-a", embedding_length=8)
for number, who in enumerate(("ben", "ben", "cem", "dan")):
    gallery.enroll(who, np.full(8, number, np.float32), silhouettes=None)
gallery.erase_subject("dan")
gallery.close()
"""


def test_the_size_is_known_without_counting_after_any_process_wrote(location):
    here = open_gallery(location)
    with noted_counts(here) as counting:
        anna = here.enroll("anna", embedding(1), silhouettes=None).sample
        here.enroll("anna", embedding(2), silhouettes=None)
        assert (here.size().subjects, here.size().samples) == (1, 2)
        command = [sys.executable, "-c", ENROLL_AND_ERASE, str(location)]
        subprocess.run(command, check=True, timeout=120)
        assert here.identify(embedding(1))[0].subject == "anna"
        assert here.size() == GallerySize("main", 1, subjects=3, samples=5)
        here.size()
        assert counting == []
        here.erase_sample(anna.sample_id)
        here.erase_subject("ben")
        assert here.size() == GallerySize("main", 1, subjects=2, samples=2)
        counting.clear()  # an erasure counts what is left of it
        here.size()
        assert counting == []
        status = here.status()
        assert counting != []
    assert (status.subjects, status.samples, status.in_sync) == (2, 2, True)
    here.close()


def test_the_size_of_another_models_gallery_is_counted(location):
    first = open_gallery(location)
    first.enroll("anna", embedding(1), silhouettes=None)
    first.close()
    other = open_gallery(location, "model-b")
    assert other.size() == GallerySize("main", 1, subjects=1, samples=1)
    other.close()


def test_what_came_and_went_between_two_looks_is_not_found(location):
    here, there = open_gallery(location), open_gallery(location)
    for seed in range(3):
        here.enroll("anna", embedding(seed), silhouettes=walk(seed))
    here.erase_subject("anna")
    here.enroll("ben", embedding(9), silhouettes=walk(9))
    assert [c.subject for c in there.identify(embedding(0))] == ["ben"]
    assert there.status().indexed == 1
    here.close()
    there.close()


def test_a_reopened_gallery_fills_its_index_from_the_store(location):
    first = open_gallery(location)
    for seed in range(CHUNK + 20):
        first.enroll(f"s{seed % 50}", embedding(seed), silhouettes=None)
    first.close()
    again = open_gallery(location)
    assert again.status().in_sync
    assert again.status().indexed == CHUNK + 20
    assert again.identify(embedding(CHUNK + 7))[0].subject == "s13"
    again.close()


class BrokenIndex(ExactIndex):
    """Fails once, half-way: it has taken the rows and then says that it could not."""

    fails = False

    def add(self, rows, vectors, marks=None):
        super().add(rows, vectors, marks)
        if self.fails:
            self.fails = False
            raise MemoryError


def test_an_index_that_failed_half_way_starts_over(location):
    index = BrokenIndex(LENGTH)
    gallery = open_gallery(location, index=index)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    index.fails = True
    with pytest.raises(MemoryError):
        gallery.enroll("ben", embedding(2), silhouettes=walk(2))
    assert [c.subject for c in gallery.identify(embedding(2))] == ["ben", "anna"]
    assert (len(index), gallery.status().in_sync) == (2, True)
    gallery.close()


def test_in_sync_is_compared_and_not_assumed(location):
    index = ExactIndex(LENGTH)
    gallery = open_gallery(location, index=index)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    assert gallery.status().in_sync
    index.begin("emptied")
    assert not gallery.status().in_sync
    gallery.close()


def test_another_model_may_list_and_erase_but_not_compare(location):
    first = open_gallery(location)
    sample = first.enroll("anna", embedding(1), silhouettes=walk(1)).sample
    first.close()
    other = open_gallery(location, "model-b")
    for ask in (
        lambda: other.enroll("ben", embedding(2), silhouettes=walk(2)),
        lambda: other.identify(embedding(1)),
        lambda: other.verify("anna", embedding(1)),
    ):
        with pytest.raises(ModelMismatch, match=r"model-b .*model-a .*metagait rebuild --model"):
            ask()
    status = other.status()
    assert (status.model_id, status.indexed, status.in_sync) == ("model-a", 0, False)
    assert other.subject("anna").samples == (sample,)
    other.erase_subject("anna")
    assert other.enroll("ben", embedding(2), silhouettes=walk(2)).sample.model_id == "model-b"
    assert other.status().in_sync
    other.close()


def test_an_empty_gallery_adopts_the_model_it_is_opened_for(location):
    open_gallery(location).close()
    other = open_gallery(location, "model-b", length=3)
    status = other.status()
    assert (status.model_id, status.embedding_length, status.in_sync) == ("model-b", 3, True)
    other.close()
    back = open_gallery(location)
    assert back.status().model_id == "model-a"
    back.close()


def test_a_gallery_leaves_no_lock_behind(tmp_path):
    gallery = open_gallery(tmp_path)
    gallery.enroll("anna", embedding(1), silhouettes=walk(1))
    gallery.close()
    assert os.listdir(tmp_path) == ["metagait.db"]
