"""Every kind of PNG comes out as OpenCV decodes it, whichever decoder takes it."""

import struct
import zlib
from collections.abc import Iterator

import cv2
import kornia_rs
import numpy as np
import pytest
from numpy.typing import NDArray

from service import pictures
from service.errors import DamagedUploadError
from service.limits import Account, Limits
from tests.hostile.corpus import chunk

LIMITS = Limits(
    upload_bytes=1 << 24, frames=10, frame_pixels=1 << 22, walk_pixels=1 << 24, frame_side=4096
)
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
KINDS = (
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (RGB, GREY_ALPHA, RGBA) for depth in (8, 16)),
)
HARMLESS = {
    b"gAMA": struct.pack(">I", 45_455),
    b"cHRM": struct.pack(">8I", *range(1, 9)),
    b"sRGB": b"\0",
    b"sBIT": b"\5",
    b"bKGD": b"\0\7",
    b"pHYs": struct.pack(">IIB", 3, 2, 1),
    b"tIME": struct.pack(">H5B", 2026, 11, 28, 1, 2, 3),
}
# Orientation 6, on its side: OpenCV turns such a picture.
ON_ITS_SIDE = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
# First row, first column, and steps of the seven passes of an interlaced picture (PNG, 8.2).
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
PASSES = (*PASSES, (1, 0, 2, 1))


def raw_lines(
    random: np.random.Generator, size: tuple[int, int], bits: int, *, interlaced: bool
) -> bytes:
    """Any bytes are pixels: a filter of 0 to 4 before each line, and whatever comes."""
    lines = bytearray()
    for top, left, down, aside in PASSES if interlaced else ((0, 0, 1, 1),):
        height, width = -((top - size[0]) // down), -((left - size[1]) // aside)
        for _ in range(height if width > 0 else 0):
            lines.append(random.integers(5))
            lines += random.bytes((width * bits + 7) // 8)
    return bytes(lines)


def png(
    size: tuple[int, int],
    pixels: bytes,
    *,
    kind: tuple[int, int] = (GREY, 8),
    interlaced: bool = False,
    more: tuple[bytes, ...] = (),
    piece: int = 1 << 16,
    packed: bytes | None = None,
) -> bytes:
    colour, depth = kind
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, colour, 0, 0, interlaced)
    palette = (chunk(b"PLTE", bytes(range(256)) * 3),) if colour == PALETTE and depth == 8 else ()
    if colour == PALETTE and depth < 8:
        palette = (chunk(b"PLTE", bytes(3 * 2**depth - 1) + b"\xff"),)
    packed = zlib.compress(pixels) if packed is None else packed
    data = (chunk(b"IDAT", packed[at : at + piece]) for at in range(0, len(packed), piece))
    parts = (chunk(b"IHDR", header), *palette, *more, *data, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def decode(picture: bytes) -> NDArray[np.uint8]:
    return pictures.decode(picture, "it", Account(LIMITS))


def by_opencv(picture: bytes) -> NDArray[np.uint8]:
    grey = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    return np.asarray(grey, np.uint8)


def sizes(random: np.random.Generator) -> Iterator[tuple[int, int]]:
    yield from ((1, 1), (1, 9), (9, 1), (64, 44))
    yield from ((int(h), int(w)) for h, w in random.integers(1, 70, (20, 2)))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png_is_what_opencv_makes_of_it(
    kind: tuple[int, int], interlaced: bool
) -> None:
    random = np.random.default_rng(kind)
    for size in sizes(random):
        bits = CHANNELS[kind[0]] * kind[1]
        lines = raw_lines(random, size, bits, interlaced=interlaced)
        picture = png(
            size, lines, kind=kind, interlaced=interlaced, piece=int(random.integers(1, 99))
        )
        plain = kind == (GREY, 8) and not interlaced
        assert pictures._head(picture, "it").is_plain == plain
        np.testing.assert_array_equal(decode(picture), by_opencv(picture))


def test_the_quick_decoder_takes_the_plain_ones() -> None:
    random = np.random.default_rng(1)
    for size in sizes(random):
        picture = png(size, raw_lines(random, size, 8, interlaced=False))
        quick = pictures._plain(picture, pictures._head(picture, "it"))
        assert quick is not None
        np.testing.assert_array_equal(quick, by_opencv(picture))


def test_harmless_chunks_change_nothing_and_others_are_left_to_opencv() -> None:
    random = np.random.default_rng(2)
    lines = raw_lines(random, (30, 20), 8, interlaced=False)
    for name, data in HARMLESS.items():
        picture = png((30, 20), lines, more=(chunk(name, data),))
        assert pictures._head(picture, "it").is_plain
        np.testing.assert_array_equal(decode(picture), by_opencv(picture))
    turned = png((30, 20), lines, more=(chunk(b"eXIf", ON_ITS_SIDE),))
    assert not pictures._head(turned, "it").is_plain
    assert decode(turned).shape == (20, 30)
    np.testing.assert_array_equal(decode(turned), by_opencv(turned))


def test_pictures_that_would_hold_up_other_threads_are_left_to_opencv() -> None:
    size = (1025, 1024)
    picture = png(size, bytes((size[1] + 1) * size[0]))
    assert not pictures._head(picture, "it").is_plain
    assert decode(picture).shape == size


# NumPy's word that there is no memory is told as one that nobody could be raised to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_panic_of_the_quick_decoder_leaves_the_picture_to_opencv() -> None:
    picture = png((30, 20), raw_lines(np.random.default_rng(7), (30, 20), 8, interlaced=False))
    # No machine has the memory for so many pixels, and without memory it panics.
    size = (1 << 31, 1 << 31)
    with pytest.raises(BaseException, match="pointer") as caught:
        kornia_rs.io.decode_image_png_u8(picture, size, "mono")
    assert not isinstance(caught.value, Exception)
    assert pictures._plain(picture, pictures._Head(*size)) is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_should_end_the_process_is_not_taken_for_a_panic(kind: type[BaseException]) -> None:
    def interrupted(*_: object) -> None:
        raise kind

    with pytest.raises(kind):
        pictures._plain(b"", pictures._Head(30, 20), interrupted)


@pytest.mark.parametrize("missing", [1, 20, 300])
def test_too_few_lines_are_a_damaged_picture(missing: int) -> None:
    lines = raw_lines(np.random.default_rng(3), (30, 20), 8, interlaced=False)
    with pytest.raises(DamagedUploadError):
        decode(png((30, 20), lines[:-missing]))


def test_an_unknown_filter_is_a_damaged_picture() -> None:
    lines = bytearray(raw_lines(np.random.default_rng(4), (30, 20), 8, interlaced=False))
    lines[21 * 7] = 5
    with pytest.raises(DamagedUploadError):
        decode(png((30, 20), bytes(lines)))


def test_the_checksum_inside_the_stream_is_not_asked_where_that_of_the_chunk_is_right() -> None:
    lines = raw_lines(np.random.default_rng(5), (30, 20), 8, interlaced=False)
    packed = bytearray(zlib.compress(lines))
    packed[-1] ^= 1
    picture = png((30, 20), b"", packed=bytes(packed))
    np.testing.assert_array_equal(decode(picture), decode(png((30, 20), lines)))


def test_a_damaged_stream_is_refused_or_decodes_as_in_opencv_or_is_not_decoded_there() -> None:
    random = np.random.default_rng(6)
    refused = same = 0
    for size in (size for _ in range(20) for size in sizes(random)):
        packed = bytearray(zlib.compress(raw_lines(random, size, 8, interlaced=False)))
        packed[int(random.integers(2, len(packed)))] ^= 1 << int(random.integers(8))
        picture = png(size, b"", packed=bytes(packed))
        made = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
        try:
            ours = decode(picture)
        except DamagedUploadError:
            assert made is None
            refused += 1
            continue
        assert ours.shape == size
        if made is not None:
            np.testing.assert_array_equal(ours, made)
            same += 1
    assert refused
    assert same
