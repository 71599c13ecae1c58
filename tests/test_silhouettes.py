"""Alignment of frames, on bodies whose place is known."""

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
