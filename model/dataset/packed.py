"""The packed cache: all aligned frames of all samples in one memory-mapped array.

A folder with two files. `silhouettes.npy` is uint8 `[F, H, W]`, the frames of all samples one after
another; `index.json` says which frames belong to which sample:

    {"format": "metagait-packed-1", "size": [64, 44], "preprocessing_id": "...",
     "samples": [{"subject": "001", "condition": "nm-01", "view": "090",
                  "start": 0, "length": 30}, ...],
     "layout": "casia-b", "report": {"missing": [...], ...}}

What follows the samples comes from whoever wrote the cache: layout and report of a dataset, or the
settings of synthetic walkers.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from model.dataset.report import Findings, Place, Report
from model.dataset.samples import Dataset, Sample
from model.errors import DatasetError
from model.pieces import write_whole
from model.silhouettes import PREPROCESSING_ID, SIZES

FORMAT = "metagait-packed-1"
INDEX = "index.json"
SILHOUETTES = "silhouettes.npy"

_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)
"""What JSON and NumPy raise for files that are truncated, empty or of another kind."""


class PackedWriter:
    """Writes a cache sample by sample into `<name>.part`, which `finish` renames.

    Raises:
        DatasetError: the folder exists, or the size is not in `SIZES`.

    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        if path.exists():
            raise DatasetError(f"expected a new folder for the cache, but {path} exists")
        if size not in SIZES:
            raise DatasetError(f"expected a size of {SIZES}, got {size}")
        self.lengths: dict[Place, int] = {}
        self._path, self._size = path, size
        self._part = path.with_name(path.name + ".part")
        self._frames = 0
        self._samples: list[dict[str, Any]] = []
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True)
        self._file = (self._part / SILHOUETTES).open("wb")
        _write_header(self._file, (0, *size))

    def __enter__(self) -> "PackedWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()  # may fail on a full disk, as it flushes buffered data
        finally:
            shutil.rmtree(self._part, ignore_errors=True)

    def add(self, place: Place, silhouettes: NDArray[np.uint8]) -> None:
        """Write one sample's aligned walk, uint8 `[T, H, W]`.

        Raises:
            DatasetError: the sample was added before, or the walk has another shape.

        """
        if silhouettes.dtype != np.uint8 or silhouettes.shape[1:] != self._size:
            raise DatasetError(
                f"{'/'.join(place)}: expected uint8 [T, {self._size[0]}, {self._size[1]}], "
                f"got {silhouettes.dtype} {list(silhouettes.shape)}"
            )
        if place in self.lengths:
            raise DatasetError(f"{'/'.join(place)}: expected each sample once, got a second one")
        length = len(silhouettes)
        names = dict(zip(("subject", "condition", "view"), place, strict=True))
        self._samples.append({**names, "start": self._frames, "length": length})
        self._file.write(silhouettes.tobytes())
        self._frames += length
        self.lengths[place] = length

    def finish(self, **facts: Any) -> None:
        """Complete the cache and rename it; `facts` are added to the index as JSON.

        Raises:
            DatasetError: no sample was added.

        """
        if not self._samples:
            raise DatasetError("expected samples for the cache, got none")
        self._file.seek(0)
        _write_header(self._file, (self._frames, *self._size))
        self._file.flush()
        os.fsync(self._file.fileno())  # the name must not reach the disk before the frames
        self._file.close()
        index = {
            "format": FORMAT,
            "size": list(self._size),
            "preprocessing_id": PREPROCESSING_ID,
            "samples": self._samples,
            **facts,
        }
        write_whole(f"{json.dumps(index)}\n".encode(), self._part / INDEX)
        os.replace(self._part, self._path)


def is_packed(path: Path) -> bool:
    """Return whether the folder is a packed cache."""
    return (path / INDEX).is_file()


def open_packed(path: Path) -> Dataset:
    """Open a packed cache; its frames stay on disk until they are read.

    Raises:
        DatasetError: it is not a packed cache, is damaged, or was made by another preprocessing.

    """
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        silhouettes = np.load(path / SILHOUETTES, mmap_mode="r", allow_pickle=False)
        size = _checked_size(index, silhouettes)
        samples = tuple(_sample(entry, silhouettes) for entry in index["samples"])
        report = _report(index, samples)
    except _DAMAGED as error:
        raise DatasetError(f"expected a packed cache in {path}, got: {error}") from error
    return Dataset(samples, size, report)


@dataclass(frozen=True)
class _Frames:
    silhouettes: NDArray[np.uint8]
    start: int
    length: int

    def read(self) -> NDArray[np.uint8]:
        return self.silhouettes[self.start : self.start + self.length]


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the array's header, which NumPy pads so that a larger first axis will fit later."""
    description = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)


def _checked_size(index: dict[str, Any], silhouettes: NDArray[Any]) -> tuple[int, int]:
    """Return `(H, W)`, or raise ValueError if the cache does not fit its index or this program."""
    if index["format"] != FORMAT:
        raise ValueError(f"format {index['format']!r} where {FORMAT!r} was expected")
    if index["preprocessing_id"] != PREPROCESSING_ID:
        raise ValueError(
            f"silhouettes of preprocessing {index['preprocessing_id']!r} where "
            f"{PREPROCESSING_ID!r} was expected; pack the dataset again"
        )
    height, width = index["size"]
    if silhouettes.dtype != np.uint8 or silhouettes.shape[1:] != (height, width):
        raise ValueError(f"silhouettes {silhouettes.dtype} {list(silhouettes.shape)}")
    if not index["samples"]:
        raise ValueError("no samples")
    return height, width


def _sample(entry: dict[str, Any], silhouettes: NDArray[np.uint8]) -> Sample:
    start, length = entry["start"], entry["length"]
    if type(start) is not int or type(length) is not int:
        raise ValueError(f"frames from {start}, {length} of them")
    if start < 0 or length < 1 or start + length > len(silhouettes):
        raise ValueError(f"frames {start} to {start + length} of {len(silhouettes)}")
    place = entry["subject"], entry["condition"], entry["view"]
    if not all(isinstance(name, str) for name in place):
        raise ValueError(f"a sample of {place} where names were expected")
    return Sample(*place, length, _Frames(silhouettes, start, length))


def _report(index: dict[str, Any], samples: tuple[Sample, ...]) -> Report:
    """Return the report written with the cache, or derive one from the samples."""
    if "report" in index:
        return Report.from_json(index["report"])
    return Findings().report({(s.subject, s.condition, s.view): s.length for s in samples})
