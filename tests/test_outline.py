"""What is looked for once and in boxes is what a look at every pixel finds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.outline import BODY, Outline, _any_of
from model.silhouettes import _COLUMNS, _Centring


def pictures() -> dict[str, NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    body = np.zeros((50, 37), np.uint8)
    body[7:40, 11:20] = 255
    fringed = body.copy()
    fringed[3, 30] = fringed[45, 2] = 90
    two = body.copy()
    two[20:45, 24:30] = 200
    noise = generator.integers(0, 256, (23, 41), np.uint8)
    specks = (generator.random((31, 64)) < 0.02).astype(np.uint8)
    black = np.zeros((9, 5), np.uint8)
    named = {"body": body, "fringed": fringed, "two": two, "noise": noise, "specks": specks}
    dim = np.full((6, 8), BODY, np.uint8)
    return named | {"mask": body // 255, "black": black, "dim": dim, "full": dim + 1}


@pytest.mark.parametrize("name", pictures())
def test_the_box_holds_every_pixel_of_a_body_and_no_line_without_one(name: str) -> None:
    frame = pictures()[name]
    outline = Outline.of(frame)
    assert outline.is_mask == (frame.max() == 1)
    body = frame > (0 if outline.is_mask else BODY)
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    left, top, width, height = outline.box
    if not len(rows):
        assert height == 0
        return
    assert (top, top + height - 1) == (rows[0], rows[-1])
    assert (left, left + width - 1) == (columns[0], columns[-1])
    within = slice(top, top + height), slice(left, left + width)
    np.testing.assert_array_equal(outline.mask, body[within])
    np.testing.assert_array_equal(outline.pixels, frame[within])
    assert outline.lit.sum(dtype=int) == frame.sum(dtype=int)


@pytest.mark.parametrize("width", [8, 40, 64, 37, 3])
def test_packed_masks_have_the_outlines_of_the_masks(width: int) -> None:
    generator = np.random.default_rng(width)
    masks = (generator.random((40, 21, width)) < 0.01).astype(np.uint8)
    masks[0], masks[1] = 0, 1
    bits = np.packbits(masks.reshape(40, -1), axis=1)
    if spare := -21 * width % 8:
        bits[:, -1] |= (1 << spare) - 1  # whatever a caller puts beyond the last pixel
    found = list(Outline.of_bits(bits, 21, width))
    assert len({outline.box for outline in found}) > 20
    for outline, mask in zip(found, masks, strict=True):
        alone = Outline.of(mask)
        assert outline.box == alone.box
        assert (outline.height, outline.width) == mask.shape
        assert outline.is_mask == alone.is_mask
        np.testing.assert_array_equal(outline.lit, alone.lit)
        assert outline.mask is outline.pixels is outline.lit


@pytest.mark.parametrize("height", range(1, 40))
def test_rows_are_joined_whatever_their_number(height: int) -> None:
    rows = np.random.default_rng(height).integers(0, 256, (3, height, 5), np.uint8)
    np.testing.assert_array_equal(_any_of(rows & 9), np.bitwise_or.reduce(rows & 9, axis=1))


def test_pieces_are_counted_across_corners() -> None:
    assert [Outline.of(pictures()[name]).pieces for name in ("body", "two")] == [1, 2]
    assert Outline.of(np.eye(20, dtype=np.uint8)).pieces == 1


def centred_alone(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """One picture, as GaitSet's alignment is usually written."""
    mass = np.cumsum(picture.sum(axis=0, dtype=np.int64))
    middle = int(np.searchsorted(mass, mass[-1] / 2, side="right"))
    padded = np.pad(picture, ((0, 0), (width // 2, width)))
    return padded[:, middle : middle + width]


@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_are_centred_together_as_each_alone(mirrored: bool) -> None:
    generator = np.random.default_rng(1)
    widths = [1, 2, 3, 17, 44, 45, 90, _COLUMNS, 1, 300]
    made = [generator.integers(0, 256, (16, width), np.uint8) for width in widths]
    halves = np.zeros((16, 60), np.uint8)
    halves[:, [10, 40]] = 255  # half of the mass is passed anywhere between
    made += [halves, np.zeros((16, 5), np.uint8), halves, np.zeros((16, 5), np.uint8)]
    centring = _Centring(44)
    for picture in made:
        centring.add(picture)
        assert centring._columns <= _COLUMNS, "what is wide does not wait"
    found = centring.cut(mirrored=mirrored)
    assert len(found) == len(made)
    for one, picture in zip(found, made, strict=True):
        wanted = picture[:, ::-1] if mirrored else picture
        np.testing.assert_array_equal(one, centred_alone(wanted, 44))
