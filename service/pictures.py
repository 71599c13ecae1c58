"""PNG and JPEG bytes -> grey frames; size and structure are read before anything is decoded."""

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from service.errors import DamagedUploadError, UnsupportedFormatError
from service.limits import Account

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
# Start-of-frame markers; the gaps are DHT, JPG and DAC, which share the range (ITU T.81, B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A progressive JPEG has about ten scans. Each costs a pass over all pixels, however few its bytes.
_MAX_SCANS = 32
_MAX_CHUNKS = 10_000


def decode(picture: bytes, where: str, account: Account) -> NDArray[np.uint8]:
    """Decode one PNG or JPEG to grey uint8 `[h, w]`.

    Args:
        picture: the whole file.
        where: what to call it in an error, for instance `frame 3` or `0003.png`.
        account: charged with the frame before its pixels are decoded.

    Raises:
        UnsupportedFormatError: neither PNG nor JPEG, or an animated PNG.
        DamagedUploadError: cut short or inconsistent.
        FrameTooLargeError, TooManyFramesError: from the account.

    """
    height, width = _size(picture, where)
    account.spend(where, height, width)
    try:
        grey = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        grey = None
    # A JPEG may say that it lies on its side, so height and width may have changed places.
    if grey is None or sorted(grey.shape) != sorted((height, width)):
        raise DamagedUploadError(f"{where}: expected a whole picture, got one that does not decode")
    return np.asarray(grey, np.uint8)


def _size(picture: bytes, where: str) -> tuple[int, int]:
    """Height and width from the header, once the file is known to be whole."""
    if picture.startswith(_PNG):
        return _png_size(picture, where)
    if picture.startswith(_JPEG):
        return _jpeg_size(picture, where)
    raise UnsupportedFormatError(
        f"{where}: expected a PNG or JPEG picture, got {describe(picture[:64])}"
    )


def _png_size(picture: bytes, where: str) -> tuple[int, int]:
    """Walk the chunks to IEND, checking each checksum (PNG specification, section 5)."""
    position = len(_PNG)
    size: tuple[int, int] | None = None
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
        if kind == b"IHDR" and length == 13 and size is None:
            width, height = struct.unpack_from(">II", picture, position + 8)
            size = (height, width)
        elif kind == b"acTL":
            raise UnsupportedFormatError(f"{where}: expected a still picture, got an animated PNG")
        elif kind == b"IEND" and size is not None:
            return size
        elif size is None:
            break
        position = end
    raise DamagedUploadError(f"{where}: expected a whole PNG, got one cut short or damaged")


def _jpeg_size(picture: bytes, where: str) -> tuple[int, int]:
    """Walk the segments to the start of frame (ITU T.81, annex B)."""
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
            return height, width
        # Fill bytes may stand before a marker.
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
