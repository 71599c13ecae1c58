"""Walkers on disk: a compact cache for training, or a tree of PNG files like CASIA-B's.

The cache is a folder of two files. `silhouettes.npy` is uint8 `[F, 64, 44]`, all frames of all
samples one after the other; `index.json` says which frames belong to which sample:

    {"format": "metagait-packed-1", "size": [64, 44], "preprocessing_id": "...", "settings": {...},
     "samples": [{"subject": "0001", "condition": "nm-01", "view": "090",
                  "start": 0, "length": 30}, ...]}

Both writers work subject by subject, in the order of their numbers, so that the bytes do not depend
on the number of workers; nothing has its final name before it is whole.
"""

import dataclasses
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import ConfigError, DatasetError
from model.silhouettes import PREPROCESSING_ID, align
from model.walkers.generate import check_walk, render_walks
from model.walkers.settings import CONDITIONS, VIEWS, WalkerSettings

FORMAT = "metagait-packed-1"
_SIZE = (64, 44)


@dataclass(frozen=True)
class PackedSample:
    """One line of the index, without its frames' place."""

    subject: str
    condition: str
    view: str


Progress = Callable[[int], None]
"""Called with the number of a subject whose walks are on the disk."""
_Made = TypeVar("_Made")


def write_packed(
    path: Path,
    subjects: range,
    settings: WalkerSettings,
    *,
    conditions: Sequence[str] = CONDITIONS,
    views: Sequence[int] = VIEWS,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write the aligned walks of `subjects` as a cache folder `path`.

    Raises:
        ConfigError: a subject, condition or view that does not exist, or no worker.
        DatasetError: `path` exists.

    """
    _check(subjects, conditions, views, workers)
    _refuse_existing(path)
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    make = partial(
        _aligned_walks, conditions=tuple(conditions), views=tuple(views), settings=settings
    )
    samples: list[dict[str, Any]] = []
    frames = 0
    with (part / "silhouettes.npy").open("wb") as file:
        _write_header(file, 0)
        for subject, walks in zip(subjects, _mapped(make, subjects, workers), strict=True):
            for (condition, view), silhouettes in walks.items():
                names = {"subject": f"{subject:04d}", "condition": condition, "view": f"{view:03d}"}
                length = len(silhouettes)
                samples.append({**names, "start": frames, "length": length})
                file.write(silhouettes.tobytes())
                frames += length
            if progress:
                progress(subject)
        file.seek(0)
        _write_header(file, frames)
    (part / "index.json").write_text(json.dumps(_index(samples, settings)) + "\n", encoding="utf-8")
    os.replace(part, path)


def read_packed(path: Path) -> Iterator[tuple[PackedSample, NDArray[np.uint8]]]:
    """Yield the samples of a cache folder in order, each with its silhouettes `[T, 64, 44]`.

    Raises:
        DatasetError: the folder is no cache of this format, or is incomplete.

    """
    try:
        index = json.loads((path / "index.json").read_text(encoding="utf-8"))
        frames = np.load(path / "silhouettes.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"expected a folder of packed walks at {path}: {error}") from error
    if index.get("format") != FORMAT:
        raise DatasetError(f"expected the format {FORMAT} in {path}, got {index.get('format')!r}")
    for sample in index["samples"]:
        names = PackedSample(sample["subject"], sample["condition"], sample["view"])
        yield names, frames[sample["start"] : sample["start"] + sample["length"]]


def write_casia_b(
    root: Path,
    subjects: range,
    settings: WalkerSettings,
    *,
    conditions: Sequence[str] = CONDITIONS,
    views: Sequence[int] = VIEWS,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write raw masks as `root/<id>/<condition>/<view>/<id>-<condition>-<view>-<frame>.png`.

    Raises:
        ConfigError: a subject, condition or view that does not exist, or no worker.
        DatasetError: `root` holds one of the subjects.

    """
    _check(subjects, conditions, views, workers)
    for subject in subjects:
        _refuse_existing(root / f"{subject:04d}")
    root.mkdir(parents=True, exist_ok=True)
    write = partial(
        _write_subject,
        root=root,
        conditions=tuple(conditions),
        views=tuple(views),
        settings=settings,
    )
    for subject in _mapped(write, subjects, workers):
        if progress:
            progress(subject)


def _check(subjects: range, conditions: Sequence[str], views: Sequence[int], workers: int) -> None:
    if not subjects or min(subjects) < 1:
        raise ConfigError(f"expected one or more subjects numbered from 1, got {subjects}")
    if not conditions or not views:
        raise ConfigError("expected one or more conditions and views, got none")
    for condition in conditions:
        check_walk(condition, views)
    if workers < 1:
        raise ConfigError(f"expected 1 or more workers, got {workers}")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise DatasetError(f"expected a place that is still free, but {path} exists")


def _index(samples: list[dict[str, Any]], settings: WalkerSettings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "size": list(_SIZE),
        "preprocessing_id": PREPROCESSING_ID,
        "settings": dataclasses.asdict(settings),
        "samples": samples,
    }


def _write_header(file: BinaryIO, frames: int) -> None:
    """Write the header of the array; NumPy pads it so that a larger first axis fits as well."""
    description = {"descr": "|u1", "fortran_order": False, "shape": (frames, *_SIZE)}
    np.lib.format.write_array_header_1_0(file, description)


def _mapped(make: Callable[[int], _Made], subjects: Sequence[int], workers: int) -> Iterator[_Made]:
    """Yield `make(subject)` in the order of `subjects`."""
    if workers == 1:
        yield from map(make, subjects)
        return
    # OpenCV's and BLAS's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
        # A subject's walks are megabytes: ask for few ahead of the writer.
        waiting = [pool.submit(make, subject) for subject in subjects[: 2 * workers]]
        for position in range(len(subjects)):
            made = waiting.pop(0).result()
            if position + 2 * workers < len(subjects):
                waiting.append(pool.submit(make, subjects[position + 2 * workers]))
            yield made


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _aligned_walks(
    subject: int, *, conditions: Sequence[str], views: Sequence[int], settings: WalkerSettings
) -> dict[tuple[str, int], NDArray[np.uint8]]:
    return {
        (condition, view): align(masks, _SIZE).silhouettes
        for condition in conditions
        for view, masks in render_walks(subject, condition, views, settings).items()
    }


def _write_subject(
    subject: int,
    *,
    root: Path,
    conditions: Sequence[str],
    views: Sequence[int],
    settings: WalkerSettings,
) -> int:
    """Write one subject's folder under a temporary name, then give it its own."""
    name = f"{subject:04d}"
    part = root / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    for condition in conditions:
        for view, masks in render_walks(subject, condition, views, settings).items():
            folder = part / condition / f"{view:03d}"
            folder.mkdir(parents=True)
            for number, mask in enumerate(masks, start=1):
                file = folder / f"{name}-{condition}-{view:03d}-{number:03d}.png"
                if not cv2.imwrite(str(file), mask):
                    raise DatasetError(f"expected to write {file}, but could not")
    os.replace(part, root / name)
    return subject
