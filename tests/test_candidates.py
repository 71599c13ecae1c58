"""Subjects by their nearest samples against numpy, conflicts of an enrolment, and views."""

import numpy as np
import pytest

from gallery import EnrolmentConflict, Gallery, relation, view_of
from gallery.candidates import Owners, nearest_subjects
from gallery.following import Roll
from gallery.index import ExactIndex

LENGTH = 4


def point(*values):
    return np.array([*values, *[0.0] * (LENGTH - len(values))], np.float32)


@pytest.fixture
def gallery(tmp_path):
    opened = Gallery.open(tmp_path, model_id="model-a", embedding_length=LENGTH)
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [1, 2, 3, 16])
@pytest.mark.parametrize("seed", range(4))
def test_subjects_by_the_mean_of_their_nearest_samples_as_numpy_ranks_them(count, seed):
    generator = np.random.default_rng(seed)
    # One subject has most of the samples, so that a short search sees nobody else.
    subjects = ["crowd"] * 60 + [f"s{n}" for n in generator.integers(0, 12, 40)]
    vectors = generator.normal(size=(100, LENGTH)).astype(np.float32)
    vectors[:60] *= 0.1
    rows = np.arange(100, dtype=np.int64)
    index, owners = ExactIndex(LENGTH), Owners()
    index.add(rows, vectors, rows)
    owners.add(Roll(rows, subjects, [str(row) for row in rows]))
    probe = np.zeros(LENGTH, np.float32)
    distances = np.linalg.norm(vectors, axis=1)
    expected = sorted(
        (np.sort(distances[np.array(subjects) == name])[:count].mean(), name)
        for name in set(subjects)
    )
    found = nearest_subjects(index, owners, probe, 5, count)
    assert [one.subject for one in found] == [name for _, name in expected[:5]]
    np.testing.assert_allclose(
        [one.distance for one in found], [mean for mean, _ in expected[:5]], rtol=1e-5
    )
    assert len(nearest_subjects(index, owners, probe, 50, count)) == len(set(subjects))


@pytest.mark.parametrize("count", [1, 3])
def test_of_equally_near_subjects_the_first_enrolled_comes_first_however_many_are_asked_for(count):
    rows = np.arange(40, dtype=np.int64)[::-1].copy()  # an index may keep them in any order
    index, owners = ExactIndex(LENGTH), Owners()
    index.add(rows, np.tile(point(1), (40, 1)), rows)
    owners.add(Roll(rows, [f"s{row:02d}" for row in rows], [str(row) for row in rows]))
    for limit in (1, 2, 5, 40):
        found = nearest_subjects(index, owners, point(0), limit, count)
        assert [one.subject for one in found] == [f"s{row:02d}" for row in range(limit)]


def test_the_aggregation_decides_who_is_nearest_and_verify_agrees(gallery):
    for x in (1.0, 9.0):
        gallery.enroll("anna", point(x), silhouettes=None)
    for x in (2.0, 3.0):
        gallery.enroll("ben", point(x), silhouettes=None)
    assert [c.subject for c in gallery.identify(point(0))] == ["anna", "ben"]
    gallery.change_settings({"aggregation": "mean", "nearest_samples": 2})
    found = gallery.identify(point(0))
    assert [(c.subject, c.distance) for c in found] == [("ben", 2.5), ("anna", 5.0)]
    assert gallery.verify("anna", point(0)).distance == 5.0


def test_a_sample_nearer_to_somebody_else_is_reported_or_refused(gallery):
    gallery.enroll("anna", point(0), silhouettes=None)
    gallery.enroll("ben", point(10), silhouettes=None)
    assert gallery.enroll("anna", point(1), silhouettes=None).conflict is None
    assert gallery.enroll("carl", point(0.1), silhouettes=None).conflict is None, "he is new"
    conflict = gallery.enroll("ben", point(2), silhouettes=None).conflict
    assert (conflict.subject, conflict.distance, conflict.own_distance) == ("anna", 1.0, 8.0)
    again = gallery.enroll("ben", point(2), silhouettes=None)
    assert (again.duplicate, again.conflict) == (True, None)

    gallery.change_settings({"conflict": "refuse"})
    with pytest.raises(EnrolmentConflict, match="nearest to their own samples"):
        gallery.enroll("carl", point(6.6), silhouettes=None)
    assert gallery.status().samples == 5
    gallery.change_settings({"conflict": "off"})
    assert gallery.enroll("carl", point(6.6), silhouettes=None).conflict is None


@pytest.mark.parametrize(
    ("metadata", "view"),
    [
        ({"view": "090"}, 90),
        ({"view": 36.5}, 36.5),
        ({"view": -18}, 342),
        ({"view": "side"}, None),
        ({"view": True}, None),
        ({"view": "nan"}, None),
        ({"view": [90]}, None),
        ({}, None),
    ],
)
def test_a_view_is_read_from_metadata_or_not(metadata, view):
    assert view_of(metadata) == view


@pytest.mark.parametrize(
    ("probe", "sample", "difference", "equivalent", "words"),
    [
        (90, 90, 0, 0, "same side"),
        (0, 350, 10, 10, "10 degrees apart"),
        (36, 144, 108, 0, "opposite side along the walk"),
        (90, 270, 180, 0, "mirrored outline"),
        (30, 210, 180, 0, "mirrored outline"),
        (0, 90, 90, 90, "90 degrees apart"),
        (18, 126, 108, 36, "108 degrees apart, 36 from an equivalent view"),
    ],
)
def test_views_relate_in_degrees_and_words(probe, sample, difference, equivalent, words):
    found = relation(probe, sample)
    assert (found.difference, found.nearest_equivalent) == (difference, equivalent)
    assert words in found.words
    assert relation(sample, probe).difference == difference
