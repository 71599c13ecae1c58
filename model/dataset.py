"""Samples on disk: the packed cache that training reads, and the raw CASIA-B tree it is made from.

A packed cache is a folder with `silhouettes.npy`, uint8 `[frames of all samples, H, W]`, already
aligned, and `index.json`, which says where each sample lies in it. It is memory-mapped, so an epoch
is never bound by PNG decoding. A raw tree is `root/<subject>/<condition>/<view>/*.png` (CASIA-B,
Yu et al., ICPR 2006); its frames are aligned when they are read, and `pack` turns it into a cache.

What is missing, empty, short or broken is listed in the report and never silently left out.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError, SilhouetteError
from model.silhouettes import PREPROCESSING_ID, SIZES, align

FORMAT = "metagait-packed-1"
SHORT = 15
"""A sample of fewer frames than this is listed as short; it is used all the same."""

PARTITIONS = {"st": 24, "mt": 62, "lt": 74}
"""CASIA-B: how many of the first subjects train; the others test."""


class Source(Protocol):
    """Where the silhouettes of one sample come from."""

    def read(self) -> NDArray[np.uint8]:
        """Return the aligned walk, uint8 `[T, H, W]`."""
        ...


@dataclass(frozen=True)
class Sample:
    """One recorded walk; `length` counts its frames, for a raw tree before any are dropped."""

    subject: str
    condition: str
    view: str
    length: int
    source: Source = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The sample's place in the CASIA-B layout: `001/nm-01/090`."""
        return f"{self.subject}/{self.condition}/{self.view}"

    def silhouettes(self) -> NDArray[np.uint8]:
        """Read the aligned walk, uint8 `[T, H, W]`.

        Raises:
            DatasetError: no frame of the sample can be read, or none holds a body.

        """
        return self.source.read()


@dataclass(frozen=True)
class Report:
    """What a dataset lacks, by the names of the samples, with the reason where there is one."""

    missing: tuple[str, ...] = ()
    """Not there, although its condition and its view exist for other subjects."""
    empty: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def lines(self, shown: int = 5) -> list[str]:
        """One line for each kind of trouble there is, naming the first few samples."""
        kinds = ("missing", "empty", "short", "broken")
        found = [(kind, names) for kind in kinds if (names := getattr(self, kind))]
        return [
            f"{len(names)} {kind}: {', '.join(names[:shown])}{', …' if len(names) > shown else ''}"
            for kind, names in found
        ]


@dataclass(frozen=True)
class Dataset:
    """Samples of one size and one preprocessing."""

    samples: tuple[Sample, ...]
    size: tuple[int, int] = (64, 44)
    report: Report = field(default_factory=Report)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects' ids, sorted."""
        return tuple(sorted({sample.subject for sample in self.samples}))

    def of(self, subjects: Collection[str]) -> "Dataset":
        """Keep the samples of these subjects.

        Raises:
            DatasetError: none of them is here.

        """
        wanted = frozenset(subjects)
        kept = tuple(sample for sample in self.samples if sample.subject in wanted)
        if not kept:
            raise DatasetError(
                f"expected samples of the subjects {_few(wanted)}, got a dataset of "
                f"{_few(self.subjects)}"
            )
        return replace(self, samples=kept)


def open_dataset(path: Path, size: tuple[int, int] = (64, 44)) -> Dataset:
    """Open a packed cache or a raw CASIA-B tree; `size` is for a tree, a cache knows its own.

    Raises:
        DatasetError: the folder is neither, or its cache is damaged or of another preprocessing.

    """
    if not path.is_dir():
        raise DatasetError(f"expected a dataset folder, got {path}, which is not there")
    return _open_packed(path) if (path / "index.json").is_file() else _open_tree(path, size)


def partition(dataset: Dataset, train_subjects: int) -> tuple[Dataset, Dataset]:
    """Split by subject: the first `train_subjects` ids in order, and the rest (see `PARTITIONS`).

    Raises:
        DatasetError: one of the two halves would be empty.

    """
    subjects = dataset.subjects
    if not 0 < train_subjects < len(subjects):
        raise DatasetError(
            f"expected more than {train_subjects} subjects, to train on that many and test on "
            f"the rest, got {len(subjects)}"
        )
    return dataset.of(subjects[:train_subjects]), dataset.of(subjects[train_subjects:])


def pack(dataset: Dataset, out: Path) -> Report:
    """Write every readable sample of `dataset` as a packed cache, and report the others.

    The cache appears under its name only when it is whole. What could not be read is written into
    its `index.json` too, so that it is told again at every opening.

    Raises:
        DatasetError: not one sample could be read, or `out` exists.

    """
    if out.exists():
        raise DatasetError(f"expected a new folder for the cache, got {out}, which exists")
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    entries, broken = _write_frames(dataset, unfinished / "silhouettes.npy")
    report = replace(dataset.report, broken=dataset.report.broken + broken)
    index = {
        "format": FORMAT,
        "size": list(dataset.size),
        "preprocessing_id": PREPROCESSING_ID,
        "samples": entries,
        "broken": list(report.broken),
        "empty": list(report.empty),
    }
    (unfinished / "index.json").write_text(json.dumps(index))
    unfinished.rename(out)
    return report


def _write_frames(dataset: Dataset, path: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Write the frames of all readable samples behind one another; return entries and failures."""
    entries: list[dict[str, Any]] = []
    broken: list[str] = []
    # The header needs the final count, known only at the end: raw frames first, then one copy.
    raw, start = path.with_suffix(".raw"), 0
    with raw.open("wb") as file:
        for sample in dataset.samples:
            try:
                walk = sample.silhouettes()
            except DatasetError as error:
                broken.append(str(error))
                continue
            file.write(walk.tobytes())
            entry = {"subject": sample.subject, "condition": sample.condition, "view": sample.view}
            entries.append({**entry, "start": start, "length": len(walk)})
            start += len(walk)
    if not entries:
        raise DatasetError(f"expected readable samples, got none: {'; '.join(broken[:3])}")
    frames = np.memmap(raw, np.uint8, "r", shape=(start, *dataset.size))
    np.save(path, frames, allow_pickle=False)
    del frames
    raw.unlink()
    return entries, tuple(broken)


@dataclass(frozen=True)
class _PackedSource:
    silhouettes: NDArray[np.uint8]
    start: int
    length: int

    def read(self) -> NDArray[np.uint8]:
        return self.silhouettes[self.start : self.start + self.length]


@dataclass(frozen=True)
class _FolderSource:
    frames: tuple[Path, ...]
    size: tuple[int, int]

    def read(self) -> NDArray[np.uint8]:
        pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in self.frames]
        readable = [np.asarray(p, np.uint8) for p in pictures if p is not None]
        folder = "/".join(self.frames[0].parent.parts[-3:])
        if not readable:
            raise DatasetError(f"{folder}: none of the {len(pictures)} PNG files can be read")
        try:
            return align(readable, self.size).silhouettes
        except SilhouetteError as error:
            raise DatasetError(f"{folder}: {error}") from error


def _open_packed(path: Path) -> Dataset:
    try:
        index = json.loads((path / "index.json").read_text())
        silhouettes = np.load(path / "silhouettes.npy", mmap_mode="r", allow_pickle=False)
        size = _checked_size(index, silhouettes)
        samples = tuple(_packed_sample(entry, silhouettes) for entry in index["samples"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"expected a packed cache in {path}, got: {error}") from error
    if not samples:
        raise DatasetError(f"expected samples in the packed cache {path}, got none")
    broken, empty = tuple(index.get("broken", ())), tuple(index.get("empty", ()))
    return Dataset(samples, size, _report(samples, empty=empty, broken=broken))


def _checked_size(index: dict[str, Any], silhouettes: NDArray[Any]) -> tuple[int, int]:
    """Return `(H, W)`, or raise ValueError when cache and index do not fit this program."""
    height, width = index["size"]
    if index["format"] != FORMAT:
        raise ValueError(f"format {index['format']!r} where {FORMAT!r} was expected")
    if index["preprocessing_id"] != PREPROCESSING_ID:
        raise ValueError(
            f"silhouettes of preprocessing {index['preprocessing_id']!r} where "
            f"{PREPROCESSING_ID!r} was expected; pack the dataset again"
        )
    if silhouettes.dtype != np.uint8 or silhouettes.shape[1:] != (height, width):
        raise ValueError(f"silhouettes {silhouettes.dtype} {list(silhouettes.shape)}")
    return height, width


def _packed_sample(entry: dict[str, Any], silhouettes: NDArray[np.uint8]) -> Sample:
    start, length = int(entry["start"]), int(entry["length"])
    if start < 0 or length < 1 or start + length > len(silhouettes):
        raise ValueError(f"frames {start} to {start + length} of {len(silhouettes)}")
    source = _PackedSource(silhouettes, start, length)
    return Sample(entry["subject"], entry["condition"], entry["view"], length, source)


def _open_tree(root: Path, size: tuple[int, int]) -> Dataset:
    if size not in SIZES:
        raise DatasetError(f"expected a size of {SIZES}, got {size}")
    samples: list[Sample] = []
    empty: list[str] = []
    for folder in _view_folders(root):
        frames = tuple(sorted(folder.glob("*.png")))
        subject, condition, view = folder.parts[-3:]
        if frames:
            source = _FolderSource(frames, size)
            samples.append(Sample(subject, condition, view, len(frames), source))
        else:
            empty.append("/".join(folder.parts[-3:]))
    if not samples:
        raise DatasetError(
            f"expected PNG files in {root}/<subject>/<condition>/<view>/, got none; a packed "
            f"cache would hold index.json"
        )
    return Dataset(tuple(samples), size, _report(samples, empty=empty))


def _view_folders(root: Path) -> Iterator[Path]:
    return (folder for folder in sorted(root.glob("*/*/*")) if folder.is_dir())


def _report(
    samples: Sequence[Sample], *, empty: Iterable[str] = (), broken: Iterable[str] = ()
) -> Report:
    """Compare the samples with the grid of their own subjects, conditions and views."""
    there = {(s.subject, s.condition, s.view) for s in samples}
    subjects, conditions, views = (sorted(set(names)) for names in zip(*there, strict=True))
    grid = ((s, c, v) for s in subjects for c in conditions for v in views)
    listed = {*empty}
    names = ("/".join(place) for place in grid if place not in there)
    return Report(
        missing=tuple(name for name in names if name not in listed),
        empty=tuple(empty),
        short=tuple(f"{s.name} ({s.length} frames)" for s in samples if s.length < SHORT),
        broken=tuple(broken),
    )


def _few(names: Collection[str], shown: int = 4) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:shown]) + (f", … ({len(ordered)})" if len(ordered) > shown else "")
