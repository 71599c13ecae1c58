"""Decodes PNG and JPEG to grey frames; size and structure are checked before any decoding."""

import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import kornia_rs
import numpy as np
from numpy.typing import NDArray

from service.errors import DamagedUploadError, UnsupportedFormatError
from service.limits import Account

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
# Start-of-frame markers without DHT, JPG and DAC, which share their range (ITU T.81, B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A progressive JPEG has about ten scans. Each is a pass over all pixels, however few its bytes.
_MAX_SCANS = 32
_MAX_CHUNKS = 10_000

# Most masks are plain PNGs: 8-bit grey, not interlaced, with no further chunks that OpenCV would
# heed. For them the decoder in Rust takes a sixth of OpenCV's time, and gives the same pixels.
_PLAIN_HEADER = struct.pack(">BBBBB", 8, 0, 0, 0, 0)
_PLAIN_AT = 24
_PLAIN_CHUNKS = frozenset(
    (b"IHDR", b"IDAT", b"IEND", b"bKGD", b"cHRM", b"gAMA", b"pHYs", b"sBIT", b"sRGB", b"tIME")
)
# It blocks all other threads while it decodes, so OpenCV gets larger pictures, which take a
# millisecond or more.
_PLAIN_PIXELS = 1 << 20


class _Head(NamedTuple):
    """What is known about a picture before its pixels are decoded."""

    height: int
    width: int
    is_plain: bool = False


def decode(picture: bytes, where: str, account: Account) -> NDArray[np.uint8]:
    """Decode one PNG or JPEG to grey uint8 `[h, w]`.

    Args:
        picture: the whole file.
        where: its name in errors, for instance `frame 3` or `0003.png`.
        account: charged with the frame before its pixels are decoded.

    Raises:
        UnsupportedFormatError: it is neither PNG nor JPEG, an animated PNG, or has too many scans.
        DamagedUploadError: it is cut short or inconsistent.
        FrameTooLargeError, TooManyFramesError: it exceeds the account's limits.

    """
    head = _head(picture, where)
    account.spend(where, head.height, head.width)
    grey = _plain(picture, head) if head.is_plain else None
    if grey is None:
        grey = _any(picture)
    # A JPEG may say that it is rotated, so height and width may be exchanged.
    if grey is None or sorted(grey.shape) != sorted((head.height, head.width)):
        raise DamagedUploadError(f"{where}: expected a whole picture, got one that does not decode")
    return grey


def _plain(
    picture: bytes, head: _Head, quick: Callable[..., Any] = kornia_rs.io.decode_image_png_u8
) -> NDArray[np.uint8] | None:
    """Decode a plain PNG; None if the quick decoder fails, so that OpenCV decides."""
    try:
        grey = quick(picture, (head.height, head.width), "mono")
    except Exception:  # it raises nothing narrower
        return None
    except BaseException as error:
        if _is_panic(error):
            return None
        raise
    return np.asarray(grey, np.uint8)[:, :, 0]


def _is_panic(error: BaseException) -> bool:
    """Tell a panic in Rust, for instance out of memory, from what should end a thread.

    In PyO3 a panic is not an `Exception`, and its class is in a module that cannot be imported.
    """
    return type(error).__module__ == "pyo3_runtime"


def _any(picture: bytes) -> NDArray[np.uint8] | None:
    try:
        grey = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return None if grey is None else np.asarray(grey, np.uint8)


def _head(picture: bytes, where: str) -> _Head:
    """Check that the file is whole, and read its header."""
    if picture.startswith(_PNG):
        return _png_head(picture, where)
    if picture.startswith(_JPEG):
        return _jpeg_head(picture, where)
    raise UnsupportedFormatError(
        f"{where}: expected a PNG or JPEG picture, got {describe(picture[:64])}"
    )


def _png_head(picture: bytes, where: str) -> _Head:
    """Walk the chunks up to IEND and check each checksum (PNG specification, section 5)."""
    position = len(_PNG)
    size: tuple[int, int] | None = None
    kinds: set[bytes] = set()
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(picture):
            break
        length, kind = struct.unpack_from(">I4s", picture, position)
        end = position + 12 + length
        if end > len(picture):
            break
        (checksum,) = struct.unpack_from(">I", picture, end - 4)
        if zlib.crc32(memoryview(picture)[position + 4 : end - 4]) != checksum:
            break
        kinds.add(kind)
        if kind == b"IHDR" and length == 13 and size is None:
            width, height = struct.unpack_from(">II", picture, position + 8)
            size = (height, width)
        elif kind == b"acTL":
            raise UnsupportedFormatError(f"{where}: expected a still picture, got an animated PNG")
        elif kind == b"IEND" and size is not None:
            return _Head(*size, _is_plain(picture, size, kinds))
        elif size is None:
            break
        position = end
    raise DamagedUploadError(f"{where}: expected a whole PNG, got one cut short or damaged")


def _is_plain(picture: bytes, size: tuple[int, int], kinds: set[bytes]) -> bool:
    small = size[0] * size[1] <= _PLAIN_PIXELS
    return small and kinds <= _PLAIN_CHUNKS and picture.startswith(_PLAIN_HEADER, _PLAIN_AT)


def _jpeg_head(picture: bytes, where: str) -> _Head:
    """Walk the segments up to the start of frame (ITU T.81, annex B)."""
    damaged = DamagedUploadError(f"{where}: expected a whole JPEG, got one cut short or damaged")
    if not picture.rstrip(b"\0").endswith(_JPEG_END):
        raise damaged
    if picture.count(b"\xff\xda") > _MAX_SCANS:
        raise UnsupportedFormatError(f"{where}: expected a JPEG of at most {_MAX_SCANS} scans")
    position = 2
    while position + 9 <= len(picture) and picture[position] == 0xFF:
        marker = picture[position + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", picture, position + 5)
            return _Head(height, width)
        # Fill bytes may precede a marker.
        (length,) = struct.unpack_from(">H", picture, position + 2)
        position += 1 if marker == 0xFF else 2 + length
    raise damaged


def describe(head: bytes) -> str:
    """Say in words what the first bytes of a file look like."""
    for signature, words in _KNOWN:
        if head.startswith(signature):
            return words
    if head[4:8] == b"ftyp":
        return "an MP4 video"
    if head and all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head):
        return "text"
    return "a file of no known format" if head else "an empty file"


_KNOWN = (
    (_PNG, "a PNG picture"),
    (_JPEG, "a JPEG picture"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a pickle, which is never read"),
    (b"\x80\x03", "a pickle, which is never read"),
    (b"\x80\x04", "a pickle, which is never read"),
    (b"\x80\x05", "a pickle, which is never read"),
    (b"RIFF", "an AVI or WebP file"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
)
