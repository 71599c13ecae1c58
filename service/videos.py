"""Silhouette video (`.mp4`, `.avi`) -> frames, decoded in a process of its own.

A video decoder is the largest thing here that a stranger's bytes can reach, and no check of ours
reads the format before it does. So it runs apart, with limits on its memory, time and files
(`service.video_worker`), and only files that begin as such a video get there.
"""

import io
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from numpy.typing import NDArray

from service.errors import DamagedUploadError, FrameTooLargeError, UploadTooLargeError
from service.limits import Account, Limits
from service.video_worker import HEAD, TOO_MUCH

VIDEO_BYTES = 32 * 1024 * 1024
_CHUNK = 1024 * 1024
_BOXES = 10_000
"""More than a walk has where each frame is a fragment; to count them takes some milliseconds."""


def is_video(head: bytes) -> bool:
    """Tell an MP4 or AVI file by its first 12 bytes."""
    return head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def frames_of(file: IO[bytes], size: int, limits: Limits) -> Iterator[NDArray[np.uint8]]:
    """Read the masks uint8 `[h, w]`, 0 or 255, of a video of `size` bytes.

    Raises:
        UploadTooLargeError: more bytes than a video of silhouettes has.
        DamagedUploadError: no video, or one that is cut short, takes too much memory, or half of
            `limits.video_s` on the processor.
        TimeoutError: it is not decoded after `limits.video_s`, which is the machine's fault.
        FrameTooLargeError, TooManyFramesError: beyond the limits.

    """
    if size > VIDEO_BYTES:
        raise UploadTooLargeError(f"expected a video of at most {VIDEO_BYTES:,} bytes")
    _require_whole(file, size)
    return _frames(file, limits)


def _require_whole(file: IO[bytes], size: int) -> None:
    """Refuse a file that says it is longer: a decoder shows what is there and is content."""
    end = _claimed_end(file, size)
    file.seek(0)
    if end > size:
        raise DamagedUploadError(
            f"expected a video of at least {end:,} bytes, as its header says, got {size:,}: it was "
            "cut short"
        )


def _claimed_end(file: IO[bytes], size: int) -> int:
    """Tell where a video says that it ends; 0 when it does not say."""
    file.seek(0)
    if (head := file.read(8))[:4] == b"RIFF":
        length = int.from_bytes(head[4:], "little")
        # Who writes into a pipe cannot come back to fill the length in.
        return 0 if length in (0, 0xFFFFFFFF) else 8 + length
    end = 0
    for _ in range(_BOXES):
        if end + 8 > size:
            return end
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        # A box of length 0 goes on to the end of the file, and shorter ones are none.
        if length < 8:
            return 0
        end += length
    raise DamagedUploadError(f"expected a video of at most {_BOXES:,} boxes, got more")


def _frames(file: IO[bytes], limits: Limits) -> Iterator[NDArray[np.uint8]]:
    account, ends_at = Account(limits), time.perf_counter() + limits.video_s
    with tempfile.NamedTemporaryFile(prefix="metagait-video-") as copy:
        while chunk := file.read(_CHUNK):
            copy.write(chunk)
        copy.flush()
        with _worker(copy.name, limits) as process:
            yield from masks_in(process.stdout or io.BytesIO(), account)
            status = process.wait()
            if time.perf_counter() >= ends_at:
                raise TimeoutError(f"expected to decode a video within {limits.video_s} seconds")
            _check_end(status, account.frames, limits)


def masks_in(stream: IO[bytes], account: Account) -> Iterator[NDArray[np.uint8]]:
    """Read the whole masks that a worker wrote, which may have ended anywhere."""
    while len(head := stream.read(HEAD.size)) == HEAD.size:
        height, width = HEAD.unpack(head)
        account.spend(f"frame {account.frames}", height, width)
        pixels = np.frombuffer(stream.read(height * width), np.uint8)
        if len(pixels) == height * width:
            yield pixels.reshape(height, width)


@contextmanager
def _worker(path: str, limits: Limits) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the decoder; it is gone when the block is left, and after its time in any case."""
    numbers = (limits.frames, limits.frame_pixels, _processor_s(limits))
    process = subprocess.Popen(  # noqa: S603 -- our own module, with a path that we made
        [sys.executable, "-I", "-m", "service.video_worker", path, *map(str, numbers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    timer = threading.Timer(limits.video_s, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _check_end(status: int, frames: int, limits: Limits) -> None:
    if status == TOO_MUCH:
        raise FrameTooLargeError(
            f"expected a video with frames of at most {limits.frame_pixels:,} pixels, got more"
        )
    if status != 0 or frames == 0:
        raise DamagedUploadError(
            "expected a whole MP4 or AVI video of silhouettes that decodes in "
            f"{_processor_s(limits)} seconds of a processor, got one that does not"
        )


def _processor_s(limits: Limits) -> int:
    return max(1, limits.video_s // 2)
