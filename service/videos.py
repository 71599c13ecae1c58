"""Reads the frames of a silhouette video (`.mp4`, `.avi`), decoded in a process of its own.

A video decoder is the largest piece of code that a stranger's bytes can reach here, and nothing of
ours checks the format fully before it. So it runs apart, with limits on memory, time and files
(`service.video_worker`), and only gets files that begin like such a video.
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
from service.spooling import room_for_bodies
from service.video_worker import HEAD, TOO_MUCH

VIDEO_BYTES = 32 * 1024 * 1024
_CHUNK = 1024 * 1024
_BOXES = 10_000
"""More than a walk has even with a fragment per frame; counting them takes milliseconds."""


def is_video(head: bytes) -> bool:
    """Tell by its first 12 bytes whether a file is MP4 or AVI."""
    return head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def frames_of(file: IO[bytes], size: int, limits: Limits) -> Iterator[NDArray[np.uint8]]:
    """Read the masks uint8 `[h, w]`, 0 or 255, of a video of `size` bytes.

    Raises:
        UploadTooLargeError: it has more bytes than a video of silhouettes needs.
        DamagedUploadError: it is not a video, is cut short, or takes too much memory or more than
            half of `limits.video_s` of processor time.
        TimeoutError: it is not decoded within `limits.video_s`, which is the machine's fault.
        FrameTooLargeError, TooManyFramesError: it exceeds a limit.
        BusyError: the folder for temporary files has no room for a copy.

    """
    if size > VIDEO_BYTES:
        raise UploadTooLargeError(f"expected a video of at most {VIDEO_BYTES:,} bytes")
    _require_whole(file, size)
    return _frames(file, limits)


def _require_whole(file: IO[bytes], size: int) -> None:
    """Refuse a file that claims to be longer: a decoder would accept what is there."""
    end = _claimed_end(file, size)
    file.seek(0)
    if end > size:
        raise DamagedUploadError(
            f"expected a video of at least {end:,} bytes, as its header says, got {size:,}: it was "
            "cut short"
        )


def _claimed_end(file: IO[bytes], size: int) -> int:
    """Return the length in bytes that a video claims to have; 0 if it does not say."""
    file.seek(0)
    if (head := file.read(8))[:4] == b"RIFF":
        length = int.from_bytes(head[4:], "little")
        # A program that writes to a pipe cannot go back to fill in the length.
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
        # A box of length 0 extends to the end of the file, and no box is shorter than 8 bytes.
        if length < 8:
            return 0
        end += length
    raise DamagedUploadError(f"expected a video of at most {_BOXES:,} boxes, got more")


def _frames(file: IO[bytes], limits: Limits) -> Iterator[NDArray[np.uint8]]:
    account, ends_at = Account(limits), time.perf_counter() + limits.video_s
    # Around the file, because closing it writes what could not be written before.
    with room_for_bodies(), tempfile.NamedTemporaryFile(prefix="metagait-video-") as copy:
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
    """Yield the complete masks that a worker wrote, which may have ended anywhere."""
    while len(head := stream.read(HEAD.size)) == HEAD.size:
        height, width = HEAD.unpack(head)
        account.spend(f"frame {account.frames}", height, width)
        pixels = np.frombuffer(stream.read(height * width), np.uint8)
        if len(pixels) == height * width:
            yield pixels.reshape(height, width)


@contextmanager
def _worker(path: str, limits: Limits) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the decoder during the block; it is killed at the end, or when its time is up."""
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
