"""Each fault from a walk made to have it, and none from a good one."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from model.quality import FAULTS, Bounds, Fault, Observer, Quality
from model.silhouettes import align
from tests.fakes import walker

Walk = NDArray[np.uint8]


def judge(walk: Walk, bounds: Bounds | None = None) -> Quality:
    observer = Observer()
    aligned = align(observer.watch(walk))
    return observer.quality(aligned.silhouettes, bounds)


def good(frames: int = 60) -> Walk:
    return walker(10, frames)


def short() -> Walk:
    return good(12)


def half_empty() -> Walk:
    walk = good()
    walk[::3] = 0
    return walk


def cut_by_the_side() -> Walk:
    return good()[:, :, 36:]


def cut_below() -> Walk:
    return good()[:, :70]


def cut_above() -> Walk:
    return good()[:, 40:]


def small() -> Walk:
    return good()[:, ::3, ::3]


def two_bodies() -> Walk:
    return np.concatenate([good(), good()], axis=2)


def grey() -> Walk:
    noise = np.random.default_rng(0).integers(130, 200, (60, 96, 72), dtype=np.uint8)
    return np.where(good() > 0, noise, good()).astype(np.uint8)


def stuttering() -> Walk:
    return good(30).repeat(2, axis=0)


def standing() -> Walk:
    # Every frame differs by a pixel outside the legs, so that they are no duplicates.
    walk = good(1).repeat(60, axis=0)
    for position, frame in enumerate(walk):
        frame[30 + position % 7, 36 : 38 + position % 11] = 0
    return walk


CASES: list[tuple[Callable[[], Walk], Fault]] = [
    (short, "TOO_FEW_FRAMES"),
    (half_empty, "EMPTY_SILHOUETTE"),
    (cut_by_the_side, "TRUNCATED_BODY"),
    (cut_below, "TRUNCATED_BODY"),
    (cut_above, "TRUNCATED_BODY"),
    (small, "LOW_RESOLUTION"),
    (two_bodies, "MULTIPLE_BODIES"),
    (grey, "NOT_BINARY"),
    (stuttering, "DUPLICATE_FRAMES"),
    (standing, "NO_PERIODICITY"),
]


def test_every_fault_has_a_walk() -> None:
    assert {fault for _, fault in CASES} == set(FAULTS)


@pytest.mark.parametrize(("make", "fault"), CASES)
def test_a_fault_is_found(make: Callable[[], Walk], fault: Fault) -> None:
    assert fault in judge(make()).faults


@pytest.mark.parametrize("frames", [13, 20, 29, 30, 60, 120])
def test_a_good_walk_has_no_fault(frames: int) -> None:
    assert judge(good(frames)).faults == ()


@pytest.mark.parametrize("scale", [1, 255])
def test_a_mask_of_ones_is_the_same_walk(scale: int) -> None:
    assert judge((good() > 0).astype(np.uint8) * np.uint8(scale)).faults == ()


def test_a_tight_crop_is_not_taken_for_a_cut_body() -> None:
    walk = good()
    rows, columns = walk.any(axis=(0, 2)), walk.any(axis=(0, 1))
    assert judge(walk[:, rows][:, :, columns]).truncated == 0


def test_silhouettes_that_were_aligned_before_pass() -> None:
    assert judge(align(good()).silhouettes).faults == ()


def test_the_bounds_are_the_callers_to_set() -> None:
    assert judge(good(20), Bounds(frames=21)).faults == ("TOO_FEW_FRAMES",)


def test_the_measures_are_worked_out_by_hand() -> None:
    quality = judge(half_empty())
    assert quality.frames == 40
    assert quality.empty == pytest.approx(1 / 3)
    before = judge(good(30)).duplicates * 29
    assert judge(stuttering()).duplicates == pytest.approx((30 + before) / 59)
    assert judge(good()).rows == good().any(axis=2).sum(axis=1).mean()
