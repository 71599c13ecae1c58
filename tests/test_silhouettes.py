"""Alignment of frames, on bodies whose place is known."""

import sys

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import SilhouetteError
from model.silhouettes import align, align_frame

Frame = NDArray[np.uint8]


def frame(height: int = 120, width: int = 160, *, left: int = 60, top: int = 20) -> Frame:
    """Draw a body of 80 rows: a head 8 wide over a trunk 20 wide."""
    picture = np.zeros((height, width), np.uint8)
    picture[top : top + 16, left + 6 : left + 14] = 255
    picture[top + 16 : top + 80, left : left + 20] = 255
    return picture


@pytest.mark.parametrize(("size", "columns"), [((64, 44), 16), ((128, 88), 32)])
def test_the_body_fills_the_height_and_stands_in_the_middle(
    size: tuple[int, int], columns: int
) -> None:
    walk = align([frame()], size)
    assert walk.silhouettes.shape == (1, *size)
    assert walk.silhouettes.dtype == np.uint8
    trunk = np.flatnonzero(walk.silhouettes[0, -1] > 127)
    assert len(trunk) == columns
    assert trunk.mean() == pytest.approx(size[1] / 2, abs=1)
    assert walk.silhouettes[0, 0].max() > 127


def test_place_and_size_in_the_picture_do_not_matter() -> None:
    here = align([frame()]).silhouettes
    there = align([frame(300, 400, left=300, top=200)]).silhouettes
    near = align([np.kron(frame(), np.ones((2, 2), np.uint8))]).silhouettes
    np.testing.assert_array_equal(here, there)
    assert np.abs(here.astype(int) - near).mean() < 6


def test_the_centre_is_the_column_where_half_of_the_mass_is_passed() -> None:
    picture = np.zeros((64, 60), np.uint8)
    picture[:, 10:12] = 255  # a pole, and an arm to the right that must not pull the middle over
    picture[30, 12:40] = 255
    aligned = align_frame(picture, (64, 44))
    assert aligned is not None
    assert aligned[0, 22 - 1 : 22 + 2].max() == 255


def test_a_body_at_the_border_is_centred_too() -> None:
    picture = np.zeros((100, 100), np.uint8)
    picture[10:90, :12] = 255
    columns = np.flatnonzero(align([picture]).silhouettes[0, 30])
    assert columns.mean() == pytest.approx(22, abs=1)


def test_a_wide_body_is_cut_to_the_width() -> None:
    picture = np.full((20, 400), 255, np.uint8)
    assert (align([picture]).silhouettes == 255).all()


@pytest.mark.parametrize("kind", ["bool", "ones", "grey"])
def test_masks_of_every_kind_are_the_same_walk(kind: str) -> None:
    made = {"bool": frame() > 0, "ones": (frame() > 0).astype(np.uint8), "grey": frame()}[kind]
    np.testing.assert_array_equal(align([made]).silhouettes, align([frame()]).silhouettes)


def test_empty_frames_are_dropped_and_counted() -> None:
    speck = np.zeros((120, 160), np.uint8)
    speck[5:8, 5:8] = 255
    walk = align([frame(), np.zeros((120, 160), np.uint8), frame(), speck])
    assert walk.report.received == 4
    assert walk.report.used == 2
    assert walk.report.dropped == {"empty": 2}


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "got 0 frames"),
        ([np.zeros((50, 50), np.uint8)], "got 1 frames of which none"),
        ([frame().astype(np.float32)], "frame 0: expected a uint8 or bool"),
        ([frame(), np.zeros((2, 50, 50), np.uint8)], r"frame 1: .*got uint8 \[2, 50, 50\]"),
        ([np.zeros((0, 4), np.uint8)], "frame 0"),
    ],
)
def test_unusable_frames_are_refused_with_a_sentence(frames: list[Frame], says: str) -> None:
    with pytest.raises(SilhouetteError, match=says):
        align(frames)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(SilhouetteError, match="expected a size"):
        align([frame()], (32, 22))


def crossing(step: int, frames: int = 20, *, top: int = 20) -> list[Frame]:
    """Draw a body with one arm on its left side that moves `step` columns a frame."""
    start = 40 if step >= 0 else 200
    walk = []
    for i in range(frames):
        picture = frame(140, 260, left=start + i * step, top=top)
        picture[top + 30 : top + 36, start + i * step - 12 : start + i * step] = 255
        walk.append(picture)
    return walk


def test_a_walk_to_the_right_becomes_its_mirror_image() -> None:
    leftwards = align(crossing(-5)).silhouettes
    rightwards = align([picture[:, ::-1] for picture in crossing(-5)]).silhouettes
    assert np.abs(leftwards.astype(int) - rightwards).max() <= 1, "the same walk, seen in a mirror"
    arm = align(crossing(-5)).silhouettes[0, 26]
    assert np.flatnonzero(arm)[0] < 44 - 1 - np.flatnonzero(arm)[-1], "the arm stays on the left"
    mirrored = align(crossing(5)).silhouettes[0, 26]
    assert np.flatnonzero(mirrored)[0] > 44 - 1 - np.flatnonzero(mirrored)[-1]


@pytest.mark.parametrize("places", [[0] * 20, [0, 3, -3, 2, -2] * 4, [0] * 19 + [30]])
def test_a_walk_that_does_not_cross_the_picture_is_left_as_it_is(places: list[int]) -> None:
    walk = [frame(140, 260, left=100 + place) for place in places]
    single = align_frame(walk[0], (64, 44))
    np.testing.assert_array_equal(align(walk).silhouettes[0], single)


def test_specks_far_from_the_body_do_not_spoil_the_crop() -> None:
    spoilt = frame()
    spoilt[2:5, 3:9] = 255
    spoilt[110:113, 150:158] = 255
    np.testing.assert_array_equal(align([spoilt]).silhouettes, align([frame()]).silhouettes)


def test_a_picture_of_noise_is_not_looked_at_piece_by_piece() -> None:
    noise = np.where(np.random.default_rng(0).random((300, 300)) > 0.8, 255, 0).astype(np.uint8)
    pieces = cv2.connectedComponents(noise, connectivity=8)[0]
    calls = []
    sys.setprofile(lambda frame, event, _: calls.append(frame) if event == "call" else None)
    try:
        align([noise])
    finally:
        sys.setprofile(None)
    assert len(calls) < 200 < pieces / 5


@pytest.mark.parametrize("seed", range(20))
def test_a_body_is_the_largest_piece_and_what_lies_near_it_in_turn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    picture = np.zeros((100, 120), np.uint8)
    for _ in range(12):
        top, left, tall, wide = generator.integers((0, 0, 1, 1), (100, 120, 40, 12))
        picture[top : top + tall, left : left + wide] = 255
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(picture, connectivity=8)
    spans = {n: (x, y, x + w, y + h) for n, (x, y, w, h, _) in enumerate(boxes.tolist()) if n}
    largest = max(range(1, count), key=lambda n: boxes[n, 4])
    kept, before = {largest}, set()
    while kept != before:
        before = set(kept)
        lefts, tops, ends, feet = zip(*(spans[n] for n in kept), strict=True)
        x, y, right, bottom = min(lefts), min(tops), max(ends), max(feet)
        aside, along = 0.1 * (bottom - y), 0.3 * (bottom - y)
        kept |= {
            n
            for n, (left, top, end, foot) in spans.items()
            if boxes[n, 4] >= 0.02 * boxes[largest, 4]
            and left < right + aside
            and end > x - aside
            and top < bottom + along
            and foot > y - along
        }
    only = np.where(np.isin(labels, list(kept)), picture, 0).astype(np.uint8)
    np.testing.assert_array_equal(align([picture]).silhouettes, align([only]).silhouettes)


def test_a_head_cut_off_by_the_segmenter_still_belongs_to_the_body() -> None:
    cut = frame()
    cut[36:42] = 0
    rows = align([cut]).silhouettes[0].max(axis=1)
    assert rows[0] == 255, "the head is at the top"
    assert rows[14] == 0, "the gap below it stays"


def test_frames_that_show_a_part_of_the_body_are_dropped_and_counted() -> None:
    walk = [frame() for _ in range(12)]
    walk[5][:60] = 0
    aligned = align(walk)
    assert aligned.report.dropped == {"incomplete": 1}
    assert aligned.report.used == 11


def test_a_body_that_slowly_grows_is_whole_in_every_frame() -> None:
    walk = [
        np.kron(np.ones((20 + i, 8), np.uint8) * 255, np.ones((1, 2), np.uint8)) for i in range(60)
    ]
    assert align([np.pad(picture, 20) for picture in walk]).report.used == 60


def test_a_walk_of_nothing_but_unequal_frames_is_kept() -> None:
    walk = [np.pad(np.full((20 + 60 * (i % 2), 10), 255, np.uint8), 5) for i in range(9)]
    assert align(walk).report.used >= 5
