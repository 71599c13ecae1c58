"""Reads the frames of a NumPy array file, with one frame in memory at a time.

The header is parsed here with regular expressions instead of an evaluator. So dtype, shape and size
are checked before a byte of the array is read, and nothing in it can name code to run.
Format: numpy.lib.format, versions 1.0 to 3.0.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from service.errors import DamagedUploadError, UnsupportedFormatError
from service.limits import Limits, check_frame, check_frames, check_walk

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 4096
_MAX_DIGITS = 12
_DESCR = re.compile(r"'descr':\s*(?:'([^']{0,32})'|(\[))")
_ORDER = re.compile(r"'fortran_order':\s*(True|False)")
_SHAPE = re.compile(r"'shape':\s*\(([0-9, ]*)\)")


@dataclass(frozen=True)
class _Header:
    descr: str
    fortran_order: bool
    shape: tuple[int, ...]
    length: int
    """Bytes before the array."""


def frames_of(file: IO[bytes], size: int, limits: Limits) -> Iterator[NDArray[np.uint8]]:
    """Read the frames uint8 `[h, w]` of an array uint8 or bool `[T, h, w]`.

    Args:
        file: a `.npy` file, positioned at its start.
        size: bytes of the whole file, header included.
        limits: checked against the header before the array is read.

    Raises:
        UnsupportedFormatError: it has another dtype or number of axes, or is in Fortran order.
        DamagedUploadError: the header cannot be read, or does not fit the size.
        FrameTooLargeError, TooManyFramesError: it exceeds a limit.

    """
    header = _read_header(file)
    _check_kind(header)
    count, height, width = header.shape
    check_frames(count, limits)
    check_frame("the array", height, width, limits)
    check_walk("the array", count * height * width, limits)
    if header.length + count * height * width != size:
        raise DamagedUploadError(
            f"expected an array file of {header.length + count * height * width:,} bytes "
            f"for shape {list(header.shape)}, got {size:,}"
        )
    return _read_frames(file, header)


def _read_frames(file: IO[bytes], header: _Header) -> Iterator[NDArray[np.uint8]]:
    count, height, width = header.shape
    for position in range(count):
        data = file.read(height * width)
        if len(data) != height * width:
            raise DamagedUploadError(f"frame {position}: expected a whole frame, got an early end")
        frame = np.frombuffer(data, np.uint8).reshape(height, width)
        # A stored bool may be any byte, of which only zero is False.
        yield (frame != 0).view(np.uint8) if header.descr.endswith("b1") else frame


def _read_header(file: IO[bytes]) -> _Header:
    start = file.read(8)
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise DamagedUploadError("expected a NumPy array file of format 1 to 3, got another start")
    width = 2 if start[6] == 1 else 4
    prefix = file.read(width)
    if len(prefix) < width:
        raise DamagedUploadError("expected a NumPy header, got an early end")
    (length,) = struct.unpack("<H" if width == 2 else "<I", prefix)
    if length > _MAX_HEADER:
        raise DamagedUploadError(f"expected a header of at most {_MAX_HEADER} bytes, got {length}")
    text = file.read(length).decode("latin-1")
    descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
    if descr is None or order is None or shape is None:
        raise DamagedUploadError("expected a NumPy header with descr, fortran_order and shape")
    return _Header(
        descr=descr[1] if descr[1] is not None else "a record",
        fortran_order=order[1] == "True",
        shape=tuple(_axis(axis) for axis in shape[1].split(",") if axis.strip()),
        length=8 + width + length,
    )


def _axis(text: str) -> int:
    digits = text.strip()
    if not digits.isdecimal() or len(digits) > _MAX_DIGITS:
        raise DamagedUploadError("expected whole numbers in the shape of the array")
    return int(digits)


def _check_kind(header: _Header) -> None:
    if header.descr.lstrip("|<>=") not in ("u1", "b1"):
        kind = "objects (pickle), which are never read" if "O" in header.descr else header.descr
        raise UnsupportedFormatError(f"expected an array of uint8 or bool, got {kind}")
    if len(header.shape) != 3:
        raise UnsupportedFormatError(
            f"expected an array [frames, height, width], got shape {list(header.shape)}"
        )
    if header.fortran_order:
        raise UnsupportedFormatError(
            "expected an array in C order, got Fortran order: save np.ascontiguousarray(walk)"
        )
