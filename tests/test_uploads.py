"""Bytes -> frames: every format gives back the walk, every limit holds, nothing else gets in."""

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.archives import natural_key
from service.errors import (
    FrameTooLargeError,
    InvalidFieldError,
    RequestError,
    TooManyFramesError,
)
from service.limits import Limits
from service.uploads import Upload, frames_of
from tests.fakes import jpeg, npy, npz, png, walker, zipped, zipped_walk
from tests.hostile import corpus as hostile

LIMITS = Limits(upload_bytes=2_000_000, frames=200, frame_pixels=4_000_000, walk_pixels=10_000_000)
WALK = walker(10, 12)


def read(data: bytes, limits: Limits = LIMITS) -> list[np.ndarray[Any, Any]]:
    return list(frames_of(Upload(sequence=io.BytesIO(data)), limits))


@pytest.mark.parametrize(
    "pack",
    [
        npy,
        lambda walk: npz(silhouettes=walk),
        lambda walk: npz(other=walk[:2], silhouettes=walk),
        lambda walk: npz(only=walk),
        zipped_walk,
    ],
)
def test_every_format_gives_back_the_walk(pack: Callable[..., bytes]) -> None:
    np.testing.assert_array_equal(np.stack(read(pack(WALK))), WALK)


def test_bool_arrays_are_masks() -> None:
    frames = read(npy(WALK > 0))
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(np.stack(frames), (WALK > 0).astype(np.uint8))


def test_a_stored_bool_may_be_any_byte() -> None:
    data = hostile.npy_claiming("(1, 1, 3)", "'|b1'", bytes([0, 1, 7]))
    np.testing.assert_array_equal(read(data)[0], [[0, 1, 1]])


def test_repeated_frames_keep_their_order() -> None:
    files = tuple(io.BytesIO(png(frame)) for frame in WALK)
    np.testing.assert_array_equal(np.stack(list(frames_of(Upload(frames=files), LIMITS))), WALK)


def test_jpeg_frames_are_read() -> None:
    (frame,) = read(zipped([("a.jpg", jpeg(WALK[0]))]))
    assert np.abs(frame.astype(int) - WALK[0]).mean() < 2


def test_pictures_may_differ_in_size() -> None:
    frames = read(zipped([("1.png", png(WALK[0])), ("2.png", png(WALK[1][:, :50]))]))
    assert [frame.shape for frame in frames] == [(96, 72), (96, 50)]


def test_zip_entries_stand_in_natural_order() -> None:
    names = ["f10.png", "f9.png", "f100.png", "f1.png"]
    frames = read(zipped((name, png(WALK[i])) for i, name in enumerate(names)))
    np.testing.assert_array_equal(np.stack(frames), WALK[[3, 1, 0, 2]])


@given(st.lists(st.integers(0, 10**9), unique=True))
def test_natural_order_is_the_order_of_the_numbers(numbers: list[int]) -> None:
    names = sorted((f"walk-{number}.png" for number in numbers), key=natural_key)
    assert names == [f"walk-{number}.png" for number in sorted(numbers)]


def test_folders_and_system_litter_are_passed_over() -> None:
    extra = [("w/", b""), ("__MACOSX/w/._1.png", b"x"), ("w/.DS_Store", b"x"), ("w/Thumbs.db", b"")]
    frames = read(zipped([*extra, ("w/1.png", png(WALK[0])), ("w/2.png", png(WALK[1]))]))
    assert len(frames) == 2


@pytest.mark.parametrize("frames", [199, 200, 201])
def test_the_frame_limit_is_exact(frames: int) -> None:
    data = npy(np.zeros((frames, 4, 4), np.uint8))
    if frames <= 200:
        assert len(read(data)) == frames
    else:
        with pytest.raises(TooManyFramesError, match="at most 200 frames"):
            read(data)


def test_the_pixels_of_all_frames_together_are_limited() -> None:
    data = zipped((f"{i}.png", png(np.zeros((1500, 2000), np.uint8))) for i in range(4))
    with pytest.raises(FrameTooLargeError, match="in all frames together"):
        read(data)


@pytest.mark.parametrize("upload", [Upload(), Upload(io.BytesIO(), (io.BytesIO(),))])
def test_a_walk_comes_in_one_way(upload: Upload) -> None:
    with pytest.raises(InvalidFieldError, match="sequence"):
        frames_of(upload, LIMITS)


SEEDS = [npy(WALK), npz(a=WALK), zipped_walk(WALK[:4]), zipped([("a.jpg", jpeg(WALK[0]))])]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    st.floats(0.3, 1),
)
def test_bent_files_are_read_or_refused(
    seed: bytes, changes: list[tuple[float, bytes]], keep: float
) -> None:
    data = bytearray(seed)
    for place, change in changes:
        start = int(place * len(data))
        data[start : start + len(change)] = change
    with suppress(RequestError):
        for frame in read(bytes(data[: int(keep * len(data))])):
            assert frame.ndim == 2
            assert frame.dtype == np.uint8


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"PK\x05\x06"]), st.binary())
def test_noise_is_refused(start: bytes, noise: bytes) -> None:
    with pytest.raises(RequestError):
        read(start + noise)
