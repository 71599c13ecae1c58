"""The sampler and the augmentations of training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.augment import AugmentConfig, augmented, frame_positions
from model.dataset import Dataset, Sample
from model.errors import DatasetError
from model.sampler import Sampler, SamplerConfig, prefetched

UNCHANGED = AugmentConfig(mirror=0, shift=0, scale=0, erase=0, outline=0, speed=1, drop=0)


class Frames:
    """A source of `length` frames whose pixels all say which frame they are."""

    def __init__(self, length: int, offset: int = 0) -> None:
        numbers = np.arange(offset, offset + length, dtype=np.uint8)
        self._walk = np.tile(numbers[:, None, None], (1, 64, 44))

    def read(self) -> np.ndarray:
        return self._walk


def made_dataset(subjects: int = 5, samples: int = 3, length: int = 20) -> Dataset:
    return Dataset(
        tuple(
            Sample(f"{s:03}", f"nm-{k:02}", "090", length, Frames(length, offset=20 * s))
            for s in range(subjects)
            for k in range(1, samples + 1)
        )
    )


def test_batch_is_p_subjects_with_k_samples_each() -> None:
    dataset = made_dataset(subjects=5, samples=3)
    config = SamplerConfig(subjects=4, samples=3, frames=8, augment=UNCHANGED)
    batch = Sampler(dataset, config, seed=7).batch(0)
    assert batch.silhouettes.shape == (12, 8, 64, 44)
    assert batch.silhouettes.dtype == np.uint8
    assert batch.lengths.tolist() == [8] * 12
    labels, counts = np.unique(batch.labels, return_counts=True)
    assert len(labels) == 4
    assert set(counts.tolist()) == {3}
    # Frames of subject s are numbered from 20·s: clips and labels belong together.
    np.testing.assert_array_equal(batch.silhouettes[:, 0, 0, 0] // 20, batch.labels)
    np.testing.assert_array_equal(np.diff(batch.silhouettes[:, :, 0, 0].astype(int)), 1)


def test_samples_are_repeated_only_when_there_are_too_few() -> None:
    dataset = made_dataset(subjects=2, samples=2)
    config = SamplerConfig(subjects=2, samples=5, frames=4)
    assert Sampler(dataset, config, 1).batch(0).silhouettes.shape[0] == 10
    with pytest.raises(DatasetError, match="at least 3 subjects"):
        Sampler(dataset, SamplerConfig(subjects=3), 1)


def test_a_batch_depends_on_seed_and_iteration_alone() -> None:
    config = SamplerConfig(subjects=3, samples=2, frames=6)
    first = Sampler(made_dataset(), config, seed=3)
    second = Sampler(made_dataset(), config, seed=3)
    ahead = [first.batch(i) for i in range(4)]
    behind = [second.batch(i) for i in reversed(range(4))][::-1]
    for one, other in zip(ahead, behind, strict=True):
        np.testing.assert_array_equal(one.silhouettes, other.silhouettes)
        np.testing.assert_array_equal(one.labels, other.labels)
    other_seed = Sampler(made_dataset(), config, seed=4).batch(0)
    assert not np.array_equal(ahead[0].silhouettes, other_seed.silhouettes)


def test_prefetched_batches_come_in_order_and_errors_arrive() -> None:
    sampler = Sampler(made_dataset(), SamplerConfig(subjects=2, samples=2, frames=4), 1)
    found = list(prefetched(sampler.batch, range(2, 6)))
    for iteration, batch in zip(range(2, 6), found, strict=True):
        np.testing.assert_array_equal(batch.silhouettes, sampler.batch(iteration).silhouettes)
    assert list(prefetched(sampler.batch, range(3, 3))) == []

    def fails(iteration: int) -> object:
        raise DatasetError(f"no batch {iteration}")

    with pytest.raises(DatasetError, match="no batch 0"):
        list(prefetched(fails, range(2)))


def test_short_walks_are_repeated_along_time() -> None:
    positions = frame_positions(3, 8, UNCHANGED, np.random.default_rng(1))
    np.testing.assert_array_equal(np.diff(positions) % 3, 1)
    assert set(positions.tolist()) == {0, 1, 2}


@settings(deadline=None, max_examples=200)
@given(
    length=st.integers(1, 80),
    frames=st.integers(1, 30),
    speed=st.floats(1, 3),
    drop=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_positions_stay_in_the_walk_and_run_forwards(
    length: int, frames: int, speed: float, drop: float, seed: int
) -> None:
    config = AugmentConfig(speed=speed, drop=drop)
    positions = frame_positions(length, frames, config, np.random.default_rng(seed))
    assert positions.shape == (frames,)
    assert positions.min() >= 0
    assert positions.max() < length
    if length >= frames:
        assert (np.diff(positions) > 0).all()


def test_no_augmentation_changes_nothing() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (5, 64, 44)).astype(np.uint8)
    np.testing.assert_array_equal(augmented(clip, UNCHANGED, np.random.default_rng(1)), clip)


def test_mirror_turns_the_whole_clip() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (5, 64, 44)).astype(np.uint8)
    config = AugmentConfig(mirror=1, shift=0, scale=0, erase=0, outline=0)
    mirrored = augmented(clip, config, np.random.default_rng(1))
    np.testing.assert_array_equal(mirrored, clip[:, :, ::-1])


def test_shift_moves_no_farther_than_it_may() -> None:
    clip = np.zeros((2, 64, 44), np.uint8)
    clip[:, 30, 20] = 255
    config = AugmentConfig(mirror=0, shift=2, scale=0, erase=0, outline=0)
    moved = set()
    for seed in range(20):
        shifted = augmented(clip, config, np.random.default_rng(seed))
        rows, columns = np.nonzero(shifted[0])
        assert (abs(rows - 30) <= 2).all()
        assert (abs(columns - 20) <= 2).all()
        moved.add((rows.mean(), columns.mean()))
    assert len(moved) > 10


def test_erased_box_is_one_box_in_all_frames() -> None:
    clip = np.full((4, 64, 44), 200, np.uint8)
    config = AugmentConfig(mirror=0, shift=0, scale=0, erase=1, outline=0)
    erased = augmented(clip, config, np.random.default_rng(5)) == 0
    assert (erased == erased[0]).all()
    rows, columns = erased[0].any(axis=1).sum(), erased[0].any(axis=0).sum()
    assert erased[0].sum() == rows * columns > 0


def test_outline_changes_stay_at_the_outline() -> None:
    clip = np.zeros((3, 64, 44), np.uint8)
    clip[:, 20:50, 12:32] = 255
    config = AugmentConfig(mirror=0, shift=0, scale=0, erase=0, outline=1)
    areas = set()
    for seed in range(30):
        changed = augmented(clip, config, np.random.default_rng(seed))
        assert set(np.unique(changed).tolist()) <= {0, 255}
        assert (changed[:, 21:49, 13:31] == 255).all()
        assert (changed[:, :19] == 0).all()
        areas.add(int(changed[0].astype(bool).sum()))
    assert min(areas) < 600 < max(areas)
