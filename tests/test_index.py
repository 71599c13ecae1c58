import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gallery.candidates import Owners, nearest_subjects
from gallery.following import Chunk, marks_of
from gallery.index import ExactIndex, Held
from gallery.starting import compare

LENGTH = 6


def vectors(seed, count, length=LENGTH):
    return np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)


def rows_from(*numbers):
    return np.array(numbers, np.int64)


def brute_force(stored, probe, k):
    """Rows of the k nearest, by the definition of the distance, in float64."""
    squared = {
        row: sum((float(a) - float(b)) ** 2 for a, b in zip(vector, probe, strict=True))
        for row, vector in stored.items()
    }
    return sorted(squared.items(), key=lambda item: item[1])[:k]


def chunk_of(rows, embeddings, subjects):
    return Chunk(rows, embeddings, subjects, [f"sample-{row}" for row in rows.tolist()])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.tuples(st.sampled_from("ar"), st.integers(1, 7)), min_size=1, max_size=12),
)
def test_the_index_answers_as_numpy_does_after_any_additions_and_removals(seed, steps):
    rng = np.random.default_rng(seed)
    index, stored, next_row = ExactIndex(LENGTH), {}, 0
    for kind, count in steps:
        if kind == "a":
            rows = np.arange(next_row, next_row + count)
            added = rng.normal(size=(count, LENGTH)).astype(np.float32)
            index.add(rows, added)
            stored.update(zip(rows.tolist(), added, strict=True))
            next_row += count
        else:
            # Some of these rows were never there, or are gone already.
            gone = rng.integers(0, next_row + 3, count)
            index.remove(gone)
            for row in gone.tolist():
                stored.pop(row, None)
    assert len(index) == len(stored)
    if stored:
        probe = rng.normal(size=LENGTH).astype(np.float32)
        squared, rows = index.search(probe, len(stored))
        expected = brute_force(stored, probe, len(stored))
        assert rows.tolist() == [row for row, _ in expected]
        np.testing.assert_allclose(squared, [value for _, value in expected], rtol=1e-5)


def test_a_cleared_index_is_empty_and_can_be_filled_again():
    index = ExactIndex(LENGTH)
    index.add(rows_from(4, 9), vectors(0, 2))
    index.begin("another")
    assert len(index) == 0
    index.add(rows_from(9), vectors(1, 1))
    assert index.search(vectors(1, 1)[0], 1)[1].tolist() == [9]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    owners_of_rows=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    limit=st.integers(1, 10),
)
def test_candidates_are_those_of_a_loop_over_every_sample(seed, owners_of_rows, limit):
    embeddings = vectors(seed, len(owners_of_rows))
    probe = vectors(seed + 1, 1)[0]
    rows = np.arange(len(owners_of_rows)) + 10
    index, owners = ExactIndex(LENGTH), Owners()
    index.add(rows, embeddings)
    owners.add(chunk_of(rows, embeddings, owners_of_rows))

    nearest = {}
    for row, embedding, subject in zip(rows.tolist(), embeddings, owners_of_rows, strict=True):
        distance = float(np.linalg.norm(embedding.astype(np.float64) - probe))
        if subject not in nearest or distance < nearest[subject][0]:
            nearest[subject] = (distance, f"sample-{row}")
    expected = sorted((distance, who, what) for who, (distance, what) in nearest.items())[:limit]

    found = nearest_subjects(index, owners, probe, limit)
    assert [(c.subject, c.sample_id) for c in found] == [(s, i) for _, s, i in expected]
    assert [c.distance for c in found] == pytest.approx([d for d, _, _ in expected], rel=1e-5)
    assert [c.rank for c in found] == list(range(1, len(found) + 1))


def test_one_subject_with_hundreds_of_near_samples_takes_one_place():
    near = vectors(0, 700) * 0.01
    far = vectors(1, 3) + 100
    rows = np.arange(703)
    index, owners = ExactIndex(LENGTH), Owners()
    embeddings = np.concatenate([near, far])
    index.add(rows, embeddings)
    owners.add(chunk_of(rows, embeddings, ["crowd"] * 700 + ["x", "y", "z"]))
    found = nearest_subjects(index, owners, np.zeros(LENGTH, np.float32), 4)
    assert found[0].subject == "crowd"
    assert {candidate.subject for candidate in found[1:]} == {"x", "y", "z"}


def test_equal_distances_are_ordered_by_row():
    same = np.ones((3, LENGTH), np.float32)
    index, owners = ExactIndex(LENGTH), Owners()
    index.add(rows_from(30, 10, 20), same)
    owners.add(chunk_of(rows_from(30, 10, 20), same, ["c", "a", "b"]))
    found = nearest_subjects(index, owners, np.zeros(LENGTH, np.float32), 3)
    assert [candidate.subject for candidate in found] == ["a", "b", "c"]


def test_owners_forget_a_subject_with_its_last_row():
    owners = Owners()
    owners.add(chunk_of(rows_from(1, 2, 3), vectors(0, 3), ["a", "a", "b"]))
    owners.remove(rows_from(1, 3, 99))
    assert (len(owners), owners.subjects, owners[2].subject) == (1, 1, "a")


def test_an_empty_index_names_nobody():
    assert nearest_subjects(ExactIndex(LENGTH), Owners(), vectors(0, 1)[0], 5) == ()


def held(**marks):
    rows = [int(name[1:]) for name in marks]
    return Held(rows_from(*rows), rows_from(*marks.values()))


def test_what_an_index_kept_counts_only_where_row_and_mark_agree():
    stale, missing = compare(held(r5=50, r1=10, r7=70), held(r1=10, r2=20, r5=51))
    assert (sorted(stale.tolist()), sorted(missing.tolist())) == ([5, 7], [2, 5])


@pytest.mark.parametrize("kept", [held(), held(r3=1)])
def test_an_index_that_kept_nothing_of_the_store_is_filled_whole(kept):
    stale, missing = compare(kept, held(r4=1, r6=2))
    assert (stale.tolist(), missing.tolist()) == (kept.rows.tolist(), [4, 6])


def test_marks_tell_samples_apart_and_stay_the_same():
    first, again, other = marks_of(["a" * 32, "a" * 32, "b" * 32])
    assert first == again != other
