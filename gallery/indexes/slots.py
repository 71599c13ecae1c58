"""The files of a compact index: whole vectors by slot, and records with their owners and codes.

    manifest.json        generation that this is of, and serial up to which all is on the disk
    originals            vectors float32, slot after slot
    codes-V              records, slot after slot: row, mark, serial, checksums, code
    projection-V.npz     the projection that made those codes; version 0 has neither
    lock                 held by the one process that uses the folder

Whole vectors are read from the disk on demand. The files are a cache: damage from a crash is
detected by checksums and left out, and the gap is filled from the store. An emptied slot is
overwritten with zeros, and the zeros are on the disk before `drop` returns.
"""

import os
import zlib
from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery.indexes.folder import Folder, Manifest, open_file
from gallery.indexes.projection import Codes, Floats, Projection

# Slots read or written at a time: 16 MiB of vectors if they have 4,096 numbers.
PAGE = 1024
# How many vectors that were synced long ago are checked again at a start.
_CHECKED_AGAIN = 256


class Stored(NamedTuple):
    """Used slots int64 `[N]` on the disk, with their rows, marks and codes."""

    slots: NDArray[np.int64]
    rows: NDArray[np.int64]
    marks: NDArray[np.int64]
    projected: Codes


class DamagedError(Exception):
    """The files differ from what was written, and must not be trusted."""


class SlotFiles:
    """The files of one generation, for vectors float32 `[length]` and codes of `dimensions`."""

    def __init__(self, folder: Folder, manifest: Manifest, length: int, dimensions: int) -> None:
        self._folder = folder
        self._manifest = manifest
        self._serial = manifest.synced
        self._length = length
        self.record = record_of(dimensions)
        self._originals = open_file(folder.originals)
        self._codes = open_file(folder.codes(manifest.version))

    @property
    def slots(self) -> int:
        """Return the number of slots in the file of the codes."""
        return os.fstat(self._codes).st_size // self.record.itemsize

    def close(self) -> None:
        """Close the files as they are."""
        os.close(self._originals)
        os.close(self._codes)

    def projection(self) -> Projection | None:
        """Return the projection that made the codes; None before there is one.

        Raises:
            DamagedError: there should be one, but it cannot be read.

        """
        version = self._manifest.version
        found = self._folder.projection(version)
        if version and found is None:
            raise DamagedError("the projection of the codes cannot be read")
        return found

    def stored(self) -> Iterator[Stored]:
        """Yield all used slots, a page at a time.

        Raises:
            DamagedError: a vector that was safely synced has changed.

        """
        size = self.slots
        again = np.random.default_rng().integers(0, max(1, size), _CHECKED_AGAIN)
        for start in range(0, size, PAGE):
            count = min(PAGE, size - start)
            raw = os.pread(self._codes, count * self.record.itemsize, start * self.record.itemsize)
            records = np.frombuffer(raw, self.record)
            is_used = (records["serial"] > 0) & (records["check"] == _checks(records))
            is_read = records["serial"] > self._manifest.synced
            is_read[again[(again >= start) & (again < start + count)] - start] = True
            for n in np.flatnonzero(is_used & is_read).tolist():
                is_used[n] = self._vector_matches(records[n], start + n)
            used = np.flatnonzero(is_used)
            self._serial = max(self._serial, int(records["serial"][used].max(initial=0)))
            yield _stored(records[used], used + start)

    def put(
        self,
        slots: NDArray[np.int64],
        rows: NDArray[np.int64],
        marks: NDArray[np.int64],
        vectors: Floats,
        projected: Codes,
    ) -> None:
        """Write vectors float32 `[N, L]` and their records into slots int64 `[N]`."""
        self._serial += 1
        records = np.zeros(len(slots), self.record)
        records["row"], records["mark"], records["serial"] = rows, marks, self._serial
        records["code"], records["norm"] = projected
        records["vector"] = [zlib.crc32(vector.data) for vector in np.ascontiguousarray(vectors)]
        # The record goes after its vector, so that a vector left half-written is not used.
        _write(self._originals, slots, np.ascontiguousarray(vectors, "<f4"))
        _write(self._codes, slots, sealed(records))

    def recode(self, projection: Projection) -> "Recoding":
        """Start writing the codes of another projection next to the current ones."""
        return Recoding(self, self._folder, projection, self._manifest.version + 1)

    def drop(self, slots: NDArray[np.int64]) -> None:
        """Overwrite slots int64 `[N]` with zeros, and sync."""
        _write(self._originals, slots, np.zeros((len(slots), self._length), "<f4"))
        _write(self._codes, slots, np.zeros(len(slots), self.record))
        os.fdatasync(self._originals)
        os.fdatasync(self._codes)

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Remove what a crash left in unused slots int64 `[N]`, and behind the last slot.

        Otherwise nothing would remove them when the person whose data it is gets erased.
        """
        size = self._length * 4
        room = os.fstat(self._originals).st_size // size
        if room > self.slots:
            os.ftruncate(self._originals, self.slots * size)
        for start in range(0, len(slots), PAGE):
            page = slots[start : start + PAGE]
            records = self.records(page).view(np.uint8).reshape(len(page), self.record.itemsize)
            left, has_vector = np.asarray(records.any(axis=1)), page < room
            left[has_vector] |= self.vectors(page[has_vector]).any(axis=1)
            if left.any():
                self.drop(page[left])

    def vectors(self, slots: NDArray[np.int64]) -> Floats:
        """Read the vectors of slots int64 `[N]`: float32 `[N, L]`."""
        found = np.empty((len(slots), self._length), "<f4")
        for place, count, slot in _runs(slots):
            _read(self._originals, found[place : place + count], slot * self._length * 4)
        return found

    def records(self, slots: NDArray[np.int64]) -> NDArray[np.void]:
        """Read the records of slots int64 `[N]`."""
        found = np.empty(len(slots), self.record)
        for place, count, slot in _runs(slots):
            _read(self._codes, found[place : place + count], slot * self.record.itemsize)
        return found

    def sync(self) -> None:
        """Sync everything to the disk, so that the next start can trust it without reading it."""
        os.fdatasync(self._originals)
        os.fdatasync(self._codes)
        self._manifest = self._manifest._replace(synced=self._serial)
        self._folder.write(self._manifest)

    def adopt(self, recoding: "Recoding") -> None:
        """Switch to the codes of a finished recoding, and delete the previous ones."""
        former = self._manifest.version
        os.close(self._codes)
        self._codes = recoding.file
        self._manifest = self._manifest._replace(version=recoding.version)
        self.sync()
        self._folder.forget(former)

    def _vector_matches(self, record: np.void, slot: int) -> bool:
        """Read a slot's vector, and tell whether it matches the record.

        Raises:
            DamagedError: it does not, although it was safely synced.

        """
        same = zlib.crc32(self.vectors(np.array([slot])).data) == record["vector"]
        if not same and int(record["serial"]) <= self._manifest.synced:
            raise DamagedError(f"the vector in slot {slot} is not the one that was written")
        return bool(same)


class Recoding:
    """The codes of another projection in the making, in a file of their own."""

    def __init__(
        self, files: SlotFiles, folder: Folder, projection: Projection, version: int
    ) -> None:
        folder.forget(version)  # a killed process, or a full disk, may have left a part of it
        folder.write_projection(version, projection)
        self._files = files
        self._folder = folder
        self._turn = Lock()
        self._is_open = True
        self.version = version
        self.projection = projection
        self.file = open_file(folder.codes(version))

    def put(self, slots: NDArray[np.int64]) -> Codes:
        """Write the new codes of used slots int64 `[N]`, and return them."""
        with self._turn:
            projected = self.projection.codes(self._files.vectors(slots))
            records = self._files.records(slots)
            records["code"], records["norm"] = projected
            _write(self.file, slots, sealed(records))
            return projected

    def drop(self, slots: NDArray[np.int64]) -> None:
        """Overwrite the codes of emptied slots int64 `[N]`, and sync; any thread may ask.

        Their vectors were emptied before, so `put` can only write the code of an empty one again.
        """
        with self._turn:
            if self._is_open:
                _write(self.file, slots, np.zeros(len(slots), self._files.record))
                os.fdatasync(self.file)

    def abandon(self) -> None:
        """Delete what was written."""
        with self._turn:
            self._is_open = False
            os.close(self.file)
            self._folder.forget(self.version)


def record_of(dimensions: int) -> np.dtype[np.void]:
    """Return the layout of a record; `serial` is 0 in an empty slot, `check` covers the rest."""
    return np.dtype(
        [
            ("row", "<i8"),
            ("mark", "<i8"),
            ("serial", "<i8"),
            ("vector", "<u4"),
            ("norm", "<f4"),
            ("code", "<f4", (dimensions,)),
            ("check", "<u4"),
        ]
    )


def sealed(records: NDArray[np.void]) -> NDArray[np.void]:
    """Set each record's checksum of the rest of it."""
    records["check"] = _checks(records)
    return records


def _checks(records: NDArray[np.void]) -> NDArray[np.uint32]:
    size, view = records.itemsize, memoryview(records.tobytes())
    sums = [zlib.crc32(view[start : start + size - 4]) for start in range(0, len(view), size)]
    return np.array(sums, np.uint32)


def _stored(records: NDArray[np.void], slots: NDArray[np.int64]) -> Stored:
    projected = Codes(records["code"].astype(np.float32), records["norm"].astype(np.float32))
    rows, marks = records["row"].astype(np.int64), records["mark"].astype(np.int64)
    return Stored(slots, rows, marks, projected)


def _runs(slots: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Yield runs of adjacent slots: position of the first, count, and the first slot."""
    if not len(slots):
        return
    starts = np.concatenate([[0], np.flatnonzero(np.diff(slots) != 1) + 1, [len(slots)]])
    for place, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        yield place, end - place, int(slots[place])


def _write(file: int, slots: NDArray[np.int64], content: NDArray[np.generic]) -> None:
    size = content[:1].nbytes
    for place, count, slot in _runs(slots):
        rest = content[place : place + count].view(np.uint8).reshape(-1).data
        offset = slot * size
        while rest:
            written = os.pwrite(file, rest, offset)
            rest, offset = rest[written:], offset + written


def _read(file: int, into: NDArray[np.generic], offset: int) -> None:
    rest = into.view(np.uint8).reshape(-1).data
    while rest:
        count = os.preadv(file, [rest], offset)
        if not count:
            raise DamagedError("a file is shorter than what was written into it")
        rest, offset = rest[count:], offset + count
