"""Reads untrusted zip archives of one walk.

The list of entries is checked as a whole before any entry is read: their number, names, declared
sizes and overlaps. Reading then never exceeds what was declared, because zipfile stops at the
declared size and compares the checksum there.
"""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from service.errors import (
    DamagedUploadError,
    UnsafeArchiveError,
    UnsupportedFormatError,
)
from service.limits import Limits, check_frames

_END = b"PK\x05\x06"
_END_SIZE = 22
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_SIZE = 20
_MAX_COMMENT = 65_535
_MAX_NAME = 512
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
# A zip made on a Mac or in Explorer has some files beside the pictures.
_SPARE_ENTRIES = 16
# A central-directory entry is 46 bytes, its name, and a few extra fields.
_ENTRY_BYTES = 46 + _MAX_NAME
# Pictures are compressed already: zip gains a few per cent on them, never a hundredfold.
_MAX_RATIO = 100
_SMALL = 64 * 1024

_READ_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
)


def open_archive(file: IO[bytes], limits: Limits) -> zipfile.ZipFile:
    """Open a zip and check its list of entries.

    Raises:
        DamagedUploadError: it is not a whole zip.
        UnsafeArchiveError: names that leave the archive, links, encryption, overlaps, duplicates.
        TooManyFramesError: it has more entries than a walk may have frames.

    """
    _check_directory_size(file, limits)
    try:
        archive = zipfile.ZipFile(file)
    except _READ_FAULTS as error:
        raise DamagedUploadError(
            "expected a whole zip archive, got one cut short or damaged"
        ) from error
    entries = archive.infolist()
    check_frames(len(entries) - _SPARE_ENTRIES, limits)
    for entry in entries:
        _check_entry(entry)
    _check_names(entries)
    _check_overlaps(archive, entries)
    return archive


def entries_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the archive's files in natural order, without folders and system litter."""
    files = [e for e in archive.infolist() if not e.is_dir() and not _is_litter(e.filename)]
    return sorted(files, key=lambda entry: natural_key(entry.filename))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return the sort key that puts `2.png` before `10.png`."""
    # Comparing first lengths, then digits, orders numbers of any length without converting them.
    return [
        (len(digits), digits) if (digits := part.lstrip("0")) and part.isdigit() else (0, part)
        for part in re.split(r"([0-9]+)", name)
    ]


def pictures_of(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], limits: Limits
) -> Iterator[tuple[str, bytes]]:
    """Read the pictures of one walk, as name and bytes; the entries are those of `entries_of`.

    Raises:
        UnsafeArchiveError: a picture, or all together, would unpack to far too much.
        UnsupportedFormatError: the pictures are in more than one folder.
        TooManyFramesError, DamagedUploadError: there are too many, or one cannot be read.

    """
    check_frames(len(entries), limits)
    # A path for each folder, not for each name, as making one costs as much as reading an entry.
    folders = {PurePosixPath(prefix) for prefix in {_split(e.filename)[0] for e in entries}}
    if len(folders) > 1:
        raise UnsupportedFormatError(
            f"expected the frames of one walk in one folder, got files in {len(folders)} folders"
        )
    for entry in entries:
        _check_unpacked(entry, limits)
    if sum(entry.file_size for entry in entries) > limits.upload_bytes:
        raise UnsafeArchiveError(
            f"expected pictures of at most {limits.upload_bytes:,} bytes together, unpacked"
        )
    return ((entry.filename, _read_entry(archive, entry)) for entry in entries)


@contextmanager
def opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Open one entry for reading; any fault that zipfile finds raises DamagedUploadError."""
    try:
        with archive.open(entry) as file:
            yield file
    except _READ_FAULTS as error:
        raise DamagedUploadError(
            f"{entry.filename!r}: expected a whole zip entry, got a damaged one"
        ) from error


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with opened(archive, entry) as file:
        data = file.read(entry.file_size)
    if len(data) != entry.file_size:
        raise DamagedUploadError(
            f"{entry.filename!r}: expected {entry.file_size:,} bytes, got {len(data):,}"
        )
    return data


def _check_directory_size(file: IO[bytes], limits: Limits) -> None:
    """Refuse a huge list of entries before zipfile makes an object for each."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_SIZE - _MAX_COMMENT))
    tail = file.read()
    # Look where zipfile will look: first at the very end, then for the last signature.
    at_end = tail[-_END_SIZE:].startswith(_END) and tail.endswith(b"\0\0")
    position = len(tail) - _END_SIZE if at_end else tail.rfind(_END)
    if position < 0 or position + _END_SIZE > len(tail):
        raise DamagedUploadError("expected a zip archive with its list of entries, got none")
    locator = max(0, position - _ZIP64_LOCATOR_SIZE)
    if tail[locator:].startswith(_ZIP64_LOCATOR):
        raise UnsupportedFormatError("expected a plain zip archive, got ZIP64")
    (directory,) = struct.unpack_from("<I", tail, position + 12)
    if directory > (limits.frames + _SPARE_ENTRIES) * _ENTRY_BYTES:
        check_frames(directory // 46, limits)
        raise UnsafeArchiveError("expected a short list of entries, got an inflated one")
    file.seek(0)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = set(name.replace("\\", "/").split("/"))
    if not name or len(name) > _MAX_NAME or "\0" in name:
        raise UnsafeArchiveError(f"expected entry names of 1 to {_MAX_NAME} characters without NUL")
    if parts <= {"", "."} or ".." in parts or name.startswith(("/", "\\")) or ":" in name:
        raise UnsafeArchiveError(f"expected names inside the archive, got {name[:80]!r}")
    if entry.flag_bits & _ENCRYPTED:
        raise UnsafeArchiveError(f"{name[:80]!r}: expected a readable entry, got an encrypted one")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeArchiveError(f"{name[:80]!r}: expected a stored or deflated entry")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArchiveError(f"{name[:80]!r}: expected a plain file, got a link or a device")


def _check_names(entries: list[zipfile.ZipInfo]) -> None:
    if len({entry.filename for entry in entries}) != len(entries):
        raise UnsafeArchiveError("expected every entry to have its own name, got one name twice")


def _check_overlaps(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that share bytes: the trick behind zip bombs that need no nesting."""
    spans = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    ends = [offset + _LOCAL_HEADER + packed for offset, packed in spans]
    starts = [offset for offset, _ in spans[1:]] + [archive.start_dir]
    if entries and any(end > start for end, start in zip(ends, starts, strict=True)):
        raise UnsafeArchiveError("expected entries that stand one after another, got overlaps")


def _check_unpacked(entry: zipfile.ZipInfo, limits: Limits) -> None:
    if entry.file_size > limits.picture_bytes:
        raise UnsafeArchiveError(
            f"{entry.filename!r}: expected a picture of at most {limits.picture_bytes:,} bytes, "
            f"got {entry.file_size:,}"
        )
    if entry.file_size > max(_SMALL, _MAX_RATIO * entry.compress_size):
        raise UnsafeArchiveError(
            f"{entry.filename!r}: expected a picture, got {entry.compress_size:,} bytes that "
            f"claim to unpack to {entry.file_size:,}"
        )


def _is_litter(name: str) -> bool:
    folder, last = _split(name)
    return folder.split("/")[0] == "__MACOSX" or last.startswith(".") or last == "Thumbs.db"


def _split(name: str) -> tuple[str, str]:
    """Split an entry's name into its folder and its file name."""
    folder, _, last = name.rpartition("/")
    return folder, last
