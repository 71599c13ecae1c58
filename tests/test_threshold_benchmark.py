"""The benchmark of a threshold by gallery size: exact means over galleries, compared with loops."""

from itertools import combinations

import numpy as np
import pytest

from benchmarks.threshold import Strangers, table


@pytest.fixture
def strangers() -> Strangers:
    places = np.random.default_rng(3).normal(size=(24, 2)).astype(np.float32)
    subjects = [f"{number // 4}" for number in range(24)]
    # Two cameras saw each walk.
    return Strangers.of(places, subjects, [f"{number // 2}" for number in range(24)])


def test_a_walk_is_as_near_as_its_nearest_camera_says() -> None:
    places = np.array([[0], [3], [10], [11]], np.float32)
    found = Strangers.of(places, ["a", "a", "b", "b"], ["a1", "a1", "b1", "b2"])
    np.testing.assert_array_equal(found.distances, [[np.inf, 7], [7, np.inf], [8, np.inf]])
    assert found.others == 1


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_the_share_named_is_the_mean_over_every_gallery(strangers: Strangers, size: int) -> None:
    found = strangers.distances
    for threshold in (0.1, 0.3, 0.8):
        named = [
            float(min(row[list(gallery)]) <= threshold)
            for row in found
            for gallery in combinations(np.flatnonzero(np.isfinite(row)), size)
        ]
        assert strangers.named(threshold, size) == pytest.approx(np.mean(named))


def test_a_wider_threshold_would_name_more_than_the_bound_allows(strangers: Strangers) -> None:
    for size in (1, 3, 5):
        # Of 12 walks two may be named where the target is one in two.
        threshold = strangers.threshold(size, 0.5)
        assert strangers.named(threshold, size) * 12 <= 2 + 1e-9
        assert strangers.named(np.nextafter(threshold, 1), size) * 12 > 2 + 1e-9


def test_sizes_beyond_the_strangers_are_left_out(strangers: Strangers) -> None:
    lines = table(strangers, [("walkers", strangers)], 0.3).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 1", "| 2", "| 5"]
