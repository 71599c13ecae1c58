"""The newest rows of an index in a server: which are kept, for how long, and how it answers."""

import numpy as np
import pytest

from gallery.indexes.newest import KEPT_S, MOST_BYTES, Newest
from tests.indexes import LENGTH, Clock, brute_force, vectors


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def newest(clock):
    made = Newest(LENGTH, clock)
    clock.now += KEPT_S
    return made


def rows(*numbers):
    return np.array(numbers, np.int64)


def test_it_vouches_for_nothing_that_was_written_before_it_began(clock):
    made = Newest(LENGTH, clock)
    clock.now += KEPT_S - 0.1
    assert not made.is_whole
    clock.now += 0.1
    assert made.is_whole
    made.begin()
    assert not made.is_whole


def test_it_answers_as_if_the_server_had_shown_everything(newest):
    stored = dict(zip(range(40), vectors(0, 40), strict=True))
    newest.add(rows(*range(30, 40)), np.stack([stored[row] for row in range(30, 40)]))
    probe = vectors(1, 1)[0]
    for shown in (range(30), range(35)):  # the server is late, or shows some of them already
        seen = {row: stored[row] for row in shown}
        squared, found = newest.merged(
            probe, *(one.tolist() for one in brute_force(seen, probe, 40))
        )
        expected_squared, expected = brute_force(stored, probe, 40)
        assert found.tolist() == expected.tolist()
        np.testing.assert_allclose(squared, expected_squared, rtol=1e-5)
        assert (squared.dtype, found.dtype) == (np.float32, np.int64)


def test_a_row_is_answered_as_it_was_written_last(newest):
    first, second = vectors(0, 2)
    newest.add(rows(7), first[np.newaxis])
    newest.add(rows(7), second[np.newaxis])
    squared, found = newest.merged(second, [3.0, 1.0], [8, 7])
    assert (found.tolist(), squared.tolist()) == ([7, 8], [0.0, 3.0])


def test_a_row_that_is_removed_or_old_is_left_to_the_server(newest, clock):
    probe = vectors(1, 1)[0]
    newest.add(rows(1, 2), vectors(0, 2))
    newest.remove(rows(1, 5))
    assert newest.merged(probe, [], [])[1].tolist() == [2]
    clock.now += KEPT_S
    assert newest.merged(probe, [], [])[1].tolist() == []
    newest.add(rows(3), vectors(2, 1))
    assert (len(newest), newest.merged(probe, [], [])[1].tolist()) == (1, [3])
    assert newest.is_whole


def test_more_than_it_may_hold_is_not_held_and_it_says_so(newest, clock):
    most = MOST_BYTES // (4 * LENGTH)
    newest.add(np.arange(most), np.zeros((most, LENGTH), np.float32))
    assert (len(newest), newest.is_whole) == (most, True)
    newest.add(rows(most), np.zeros((1, LENGTH), np.float32))
    assert (len(newest), newest.is_whole) == (0, False)
    clock.now += KEPT_S
    assert newest.is_whole
