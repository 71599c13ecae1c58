"""The packed form and silhouette video: what goes in comes out, within the limits."""

import io
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service import packed, videos
from service.errors import (
    DamagedUploadError,
    FrameTooLargeError,
    RequestError,
    TooManyFramesError,
    UnsupportedFormatError,
    UploadTooLargeError,
)
from service.limits import Account, Limits
from service.uploads import Upload, frames_of
from service.video_worker import HEAD
from tests.fakes import picture_of, walker

LIMITS = Limits(upload_bytes=2_000_000, frames=200, frame_pixels=4_000_000, walk_pixels=10_000_000)
WALK = walker(10, 12)


def read(data: bytes, limits: Limits = LIMITS) -> NDArray[Any]:
    frames = frames_of(Upload(sequence=io.BytesIO(data)), limits)
    return np.stack([picture_of(frame) for frame in frames])


def header(bits: int, height: int, width: int, frames: int, version: int = 1) -> bytes:
    return struct.pack("<4sBBHHI", b"MGPK", version, bits, height, width, frames)


@given(arrays(np.bool_, st.tuples(*(st.integers(1, 9),) * 3)))
def test_a_mask_comes_back_from_one_bit_a_pixel(mask: NDArray[np.bool_]) -> None:
    data = packed.pack(mask)
    assert data[5] == 1
    np.testing.assert_array_equal(read(data), mask)


@pytest.mark.parametrize("width", [432, 431])
def test_masks_of_more_bytes_than_are_unpacked_together_come_back(width: int) -> None:
    masks = np.kron(WALK > 0, np.ones((1, 6, 6), np.uint8))[:, :, :width]
    assert np.packbits(masks).nbytes > packed._TOGETHER
    np.testing.assert_array_equal(read(packed.pack(masks)), masks)


@given(arrays(np.uint8, st.tuples(*(st.integers(1, 9),) * 3)))
def test_grey_comes_back_as_it_was(walk: NDArray[np.uint8]) -> None:
    data = packed.pack(walk)
    unpacked = read(data)
    np.testing.assert_array_equal(unpacked if data[5] == 8 else unpacked * walk.max(), walk)


def test_the_example_in_the_docs_is_a_packed_walk() -> None:
    page = (Path(__file__).parent.parent / "docs" / "packed.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    np.testing.assert_array_equal(read(names["body"]), names["walk"])
    assert names["body"] == packed.pack(names["walk"])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"MGPK", DamagedUploadError),
        (header(1, 8, 8, 2, version=2), UnsupportedFormatError),
        (header(4, 8, 8, 2), UnsupportedFormatError),
        (header(1, 8, 8, 0), DamagedUploadError),
        (header(1, 0, 8, 2), FrameTooLargeError),
        (header(1, 60_000, 60_000, 2), FrameTooLargeError),
        (header(1, 8, 8, 2**32 - 1), TooManyFramesError),
        (header(1, 2000, 2000, 190), FrameTooLargeError),
        (header(1, 8, 8, 2), DamagedUploadError),
        (header(1, 8, 8, 2) + b"no zlib at all", DamagedUploadError),
        (header(1, 8, 8, 2) + zlib.compress(bytes(15)), DamagedUploadError),
        (header(1, 8, 8, 2) + zlib.compress(bytes(17)), DamagedUploadError),
        (header(1, 8, 8, 2) + zlib.compress(bytes(16))[:-2], DamagedUploadError),
        (header(1, 8, 8, 2) + zlib.compress(bytes(16)) + b"x", DamagedUploadError),
        (header(1, 8, 8, 2) + zlib.compress(bytes(50_000_000)), DamagedUploadError),
    ],
)
def test_a_lying_packed_walk_is_refused(data: bytes, error: type[RequestError]) -> None:
    with pytest.raises(error, match="expected"):
        read(data)


@pytest.mark.parametrize("wrong", [WALK[0], WALK.astype(float), WALK[:0]])
def test_only_a_walk_is_packed(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected a walk"):
        packed.pack(wrong)


def video(walk: NDArray[np.uint8], suffix: str = ".avi", codec: str = "FFV1") -> bytes:
    """A walk as a video; FFV1 keeps every pixel."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        size = (walk.shape[2], walk.shape[1])
        fourcc = cv2.VideoWriter.fourcc(*codec)
        writer = cv2.VideoWriter(file.name, cv2.CAP_FFMPEG, fourcc, 25, size)
        for frame in walk:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
        writer.release()
        return Path(file.name).read_bytes()


def test_a_lossless_video_gives_back_the_walk() -> None:
    np.testing.assert_array_equal(read(video(WALK)), WALK)


def test_a_grey_mp4_is_thresholded() -> None:
    frames = read(video(WALK // 255 * 200, ".mp4", "mp4v"))
    assert set(np.unique(frames)) == {0, 255}
    assert np.abs(frames.astype(int) - WALK).mean() < 4


def test_the_limits_of_a_video_hold() -> None:
    small = Limits(upload_bytes=1, frames=11, frame_pixels=4_000_000, walk_pixels=10_000_000)
    with pytest.raises(TooManyFramesError):
        read(video(WALK), small)
    few = Limits(upload_bytes=1, frames=50, frame_pixels=5000, walk_pixels=10_000_000)
    with pytest.raises(FrameTooLargeError):
        read(video(WALK), few)
    with pytest.raises(UploadTooLargeError):
        videos.frames_of(io.BytesIO(), videos.VIDEO_BYTES + 1, LIMITS)


@pytest.mark.parametrize("keep", [0.0, 0.3])
def test_what_only_begins_as_a_video_is_damaged(keep: float) -> None:
    whole = video(WALK, ".mp4", "mp4v")
    data = whole[: max(12, int(keep * len(whole)))] + bytes(500)
    with pytest.raises(DamagedUploadError):
        read(data)


@pytest.mark.parametrize("keep", [0.6, 1.0])
@pytest.mark.parametrize(
    ("suffix", "codec", "flags"),
    [(".avi", "FFV1", ""), (".mp4", "mp4v", "faststart"), (".mp4", "mp4v", "frag_keyframe")],
)
def test_a_video_that_is_cut_is_damaged_also_where_it_can_be_decoded(
    monkeypatch: pytest.MonkeyPatch, suffix: str, codec: str, flags: str, keep: float
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_WRITER_OPTIONS", f"movflags;{flags}" if flags else "")
    whole = video(WALK, suffix, codec)
    assert len(read(whole)) == len(WALK)
    with pytest.raises(DamagedUploadError, match="cut short"):
        read(whole[: int(keep * len(whole)) - 1])


def test_what_a_file_says_of_its_length_may_be_left_out() -> None:
    whole = video(WALK)
    assert len(read(whole[:4] + bytes(4) + whole[8:])) == len(WALK)
    assert len(read(video(WALK, ".mp4", "mp4v") + bytes(100))) == len(WALK)


@pytest.mark.parametrize("length", [b"\xff" * 4, b"\0\0\0\x01mdat" + b"\xff" * 8])
def test_a_box_beyond_every_file_is_refused(length: bytes) -> None:
    with pytest.raises(DamagedUploadError, match="cut short"):
        read(b"\0\0\0\x10ftypisom\0\0\0\0" + length + bytes(20))


def test_a_video_of_nothing_but_boxes_is_damaged() -> None:
    boxes = b"\0\0\0\x08free" * 20_000
    with pytest.raises(DamagedUploadError, match="boxes"):
        read(b"\0\0\0\x10ftypisom\0\0\0\0" + boxes)


def test_a_decoder_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError):
        read(video(WALK), replace(LIMITS, video_s=0))


def test_a_decoder_may_end_anywhere() -> None:
    frame = HEAD.pack(2, 3) + bytes(6)
    for length in range(2 * len(frame) + 1):
        whole = list(videos.masks_in(io.BytesIO((2 * frame)[:length]), Account(LIMITS)))
        assert [mask.shape for mask in whole] == [(2, 3)] * (length // len(frame))


def test_the_decoder_of_videos_has_its_own_limits() -> None:
    code = (
        "import resource, service.video_worker as w; w._decode = lambda *_: 0;"
        "w.main('x', 1, 1, 9);"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] == w.MEMORY_BYTES,"
        "resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "9", "0"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    st.floats(0.3, 1),
)
def test_bent_packed_walks_are_read_or_refused(
    changes: list[tuple[float, bytes]], keep: float
) -> None:
    data = bytearray(packed.pack(WALK))
    for place, change in changes:
        start = 4 + int(place * len(data))
        data[start : start + len(change)] = change
    with suppress(RequestError):
        assert read(bytes(data[: 4 + int(keep * len(data))])).ndim == 3
