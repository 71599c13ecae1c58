"""Reads and writes the packed form of a walk (docs/packed.md): a 14-byte header, pixels in zlib.

A mask takes one bit per pixel before zlib, and next to no time to unpack, so this is the cheapest
body for callers that send many walks.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from model.outline import Outline
from service.errors import DamagedUploadError, UnsupportedFormatError
from service.limits import Limits, check_frame, check_frames, check_walk

MAGIC = b"MGPK"
MEDIA_TYPE = "application/vnd.metagait.packed"
VERSION = 1
BITS = (1, 8)

_HEADER = struct.Struct("<4sBBHHI")
_CHUNK = 64 * 1024
# Masks are unpacked in pieces of so many bytes, or one frame if that has more.
_TOGETHER = 256 * 1024
# Level 1 packs silhouettes about as small as level 9, in a fraction of the time.
_LEVEL = 1


@dataclass(frozen=True)
class _Header:
    bits: int
    height: int
    width: int
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Return the unpacked bytes of one frame; every frame starts on a new byte."""
        return (self.height * self.width * self.bits + 7) // 8


def pack(walk: NDArray[Any]) -> bytes:
    """Pack a walk uint8 or bool `[T, h, w]`, with one bit per pixel if it is a mask, else eight.

    Raises:
        ValueError: it is not such an array, or has more than 65,535 pixels a side.

    """
    if walk.dtype not in (np.uint8, np.bool_) or walk.ndim != 3 or 0 in walk.shape:
        raise ValueError(
            f"expected a walk uint8 or bool [T, h, w], got {walk.dtype} {list(walk.shape)}"
        )
    frames, height, width = walk.shape
    if max(height, width) > 0xFFFF:
        raise ValueError(f"expected at most 65,535 pixels a side, got {width}×{height}")
    top = walk.max()
    is_mask = bool(((walk == 0) | (walk == top)).all()) and top in (0, 1, 255)
    bits = 1 if is_mask else 8
    flat = walk.reshape(frames, -1)
    pixels = np.packbits(flat, axis=1) if is_mask else flat
    header = _HEADER.pack(MAGIC, VERSION, bits, height, width, frames)
    return header + zlib.compress(pixels.tobytes(), _LEVEL)


def frames_of(file: IO[bytes], limits: Limits) -> Iterator[NDArray[np.uint8] | Outline]:
    """Read the frames uint8 `[h, w]` of a packed walk; those of one bit as outlines.

    Raises:
        UnsupportedFormatError: it has another version or number of bits.
        DamagedUploadError: it is too short, or its pixels are not what the header says.
        FrameTooLargeError, TooManyFramesError: it exceeds a limit; nothing is unpacked then.

    """
    header = _read_header(file)
    check_frames(header.frames, limits)
    check_frame("the packed walk", header.height, header.width, limits)
    check_walk("the packed walk", header.frames * header.height * header.width, limits)
    return _read_frames(file, header)


def _read_header(file: IO[bytes]) -> _Header:
    data = file.read(_HEADER.size)
    if len(data) < _HEADER.size:
        raise DamagedUploadError(f"expected a header of {_HEADER.size} bytes, got {len(data)}")
    _, version, bits, height, width, frames = _HEADER.unpack(data)
    if version != VERSION or bits not in BITS:
        raise UnsupportedFormatError(
            f"expected a packed walk of version {VERSION} with 1 or 8 bits a pixel, "
            f"got version {version} with {bits}"
        )
    if frames == 0:
        raise DamagedUploadError("expected a packed walk with frames, got none")
    return _Header(bits, height, width, frames)


def _read_frames(file: IO[bytes], header: _Header) -> Iterator[NDArray[np.uint8] | Outline]:
    unpacked = _Unpacked(file)
    together = max(1, _TOGETHER // header.frame_bytes) if header.bits == 1 else 1
    for position in range(0, header.frames, together):
        wanted = min(together, header.frames - position)
        data = unpacked.read(wanted * header.frame_bytes)
        whole = len(data) // header.frame_bytes
        frames = np.frombuffer(data, np.uint8, whole * header.frame_bytes).reshape(
            whole, header.frame_bytes
        )
        if header.bits == 1:
            yield from Outline.of_bits(frames, header.height, header.width)
        else:
            yield from frames.reshape(whole, header.height, header.width)
        if whole < wanted:
            raise DamagedUploadError(
                f"frame {position + whole}: expected a whole frame, got an early end"
            )
    if not unpacked.at_end():
        raise DamagedUploadError("expected the pixels to end with the last frame, got more")


class _Unpacked:
    """A zlib stream in a file that is unpacked only as far as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = zlib.decompressobj()

    def read(self, count: int) -> bytes:
        """Return `count` unpacked bytes; fewer at the end of the stream."""
        parts: list[bytes] = []
        while count > 0 and not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._file.read(_CHUNK)
            try:
                part = self._stream.decompress(packed, count)
            except zlib.error as error:
                raise DamagedUploadError(
                    "expected pixels packed with zlib, got a damaged stream"
                ) from error
            if not packed and not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Tell whether both the stream and the file are at their end."""
        nothing_left = self.read(1) == b"" and self._stream.eof
        return nothing_left and not self._stream.unused_data and not self._file.read(1)
