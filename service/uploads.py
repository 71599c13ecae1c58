"""Reads the frames of an uploaded walk, with every limit checked before the decoding it guards.

The format is recognised by the content, never by file names. Frames come out one by one, so that a
walk takes the memory of a few frames beside its upload, whatever its archive claims to hold.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from model.outline import Outline
from service import archives, arrays, packed, pictures, videos
from service.errors import DamagedUploadError, InvalidFieldError, UnsupportedFormatError
from service.limits import Account, Limits, check_frames

_ZIP = b"PK\x03\x04"
_FORMATS = ".zip of PNG or JPEG, .npy, .npz, packed, .mp4 or .avi"
_ARRAY_NAME = "silhouettes"

Frames = Iterator[NDArray[np.uint8] | Outline]


@dataclass(frozen=True)
class Upload:
    """The content of a request: one `sequence` file or several `frames` files, and text fields."""

    sequence: IO[bytes] | None = None
    frames: tuple[IO[bytes], ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    more: tuple[IO[bytes], ...] = ()
    """Further `sequence` files, which only a batch may have."""


def holds_video(upload: Upload) -> bool:
    """Tell whether an upload's walk is a video."""
    if upload.sequence is None:
        return False
    head = upload.sequence.read(12)
    upload.sequence.seek(0)
    return videos.is_video(head)


def frames_of(upload: Upload, limits: Limits) -> Frames:
    """Read the frames uint8 `[h, w]` of a walk, in order; sizes may differ between pictures.

    Packed masks give outlines instead, which are made without unpacking a whole picture.

    Raises:
        RequestError: a subclass of it, possibly only when the faulty frame is reached.

    """
    if upload.more:
        raise InvalidFieldError(f"expected one file `sequence`, got {1 + len(upload.more)}")
    if upload.sequence is not None and upload.frames:
        raise InvalidFieldError("expected either `sequence` or `frames`, got both")
    if upload.sequence is not None:
        return _sequence_frames(upload.sequence, limits)
    if upload.frames:
        return _picture_frames(upload.frames, limits)
    raise InvalidFieldError(
        f"expected a walk: one file `sequence` ({_FORMATS}), or pictures as repeated `frames`"
    )


def _picture_frames(files: tuple[IO[bytes], ...], limits: Limits) -> Frames:
    check_frames(len(files), limits)
    account = Account(limits)
    for position, file in enumerate(files):
        data = file.read(limits.picture_bytes + 1)
        if len(data) > limits.picture_bytes:
            raise DamagedUploadError(
                f"frame {position}: expected a picture of at most {limits.picture_bytes:,} bytes"
            )
        yield pictures.decode(data, f"frame {position}", account)


def _sequence_frames(file: IO[bytes], limits: Limits) -> Frames:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    if head.startswith(arrays.MAGIC):
        return arrays.frames_of(file, size, limits)
    if head.startswith(_ZIP):
        return _archive_frames(archives.open_archive(file, limits), limits)
    if head.startswith(packed.MAGIC):
        return packed.frames_of(file, limits)
    if videos.is_video(head):
        return videos.frames_of(file, size, limits)
    raise UnsupportedFormatError(f"expected a walk as {_FORMATS}, got {pictures.describe(head)}")


def _archive_frames(archive: zipfile.ZipFile, limits: Limits) -> Frames:
    entries = archives.entries_of(archive)
    if not entries:
        raise UnsupportedFormatError("expected an archive with frames, got an empty one")
    # Names only choose between two readers, and both check what they are given.
    held = [entry for entry in entries if entry.filename.endswith(".npy")]
    if held:
        return _array_frames(archive, held, limits)
    account = Account(limits)
    return (
        pictures.decode(data, repr(name), account)
        for name, data in archives.pictures_of(archive, entries, limits)
    )


def _array_frames(archive: zipfile.ZipFile, held: list[zipfile.ZipInfo], limits: Limits) -> Frames:
    named = [entry for entry in held if entry.filename == f"{_ARRAY_NAME}.npy"]
    if not named and len(held) > 1:
        raise UnsupportedFormatError(
            f"expected one array, or one called `{_ARRAY_NAME}`, got {len(held)} arrays"
        )
    entry = (named or held)[0]
    with archives.opened(archive, entry) as file:
        yield from arrays.frames_of(file, entry.file_size, limits)
