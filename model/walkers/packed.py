"""Writes walkers to disk: as a packed cache for training, or as a tree of PNG files like CASIA-B's.

The cache's index also contains the walkers' settings. Both writers work through the subjects in
numerical order, so the bytes do not depend on the number of workers. Nothing gets its final name
before it is complete.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.dataset.packed import PackedWriter
from model.errors import ConfigError, DatasetError
from model.parallel import mapped
from model.silhouettes import SIZES, align
from model.walkers.generate import check_walk, render_walks
from model.walkers.png import write_png
from model.walkers.settings import CONDITIONS, VIEWS, WalkerSettings

Progress = Callable[[int], None]
"""Called with the number of each subject once its walks are on disk."""


def write_packed(
    path: Path,
    subjects: range,
    settings: WalkerSettings,
    *,
    conditions: Sequence[str] = CONDITIONS,
    views: Sequence[int] = VIEWS,
    size: tuple[int, int] = SIZES[0],
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write the walks of `subjects`, aligned to `size`, as a cache folder `path`.

    Raises:
        ConfigError: a subject, condition or view does not exist, or there is no worker.
        DatasetError: `path` exists, or the size is not in `SIZES`.

    """
    _check(subjects, conditions, views, workers)
    make = partial(
        _aligned_walks,
        conditions=tuple(conditions),
        views=tuple(views),
        settings=settings,
        size=size,
    )
    with PackedWriter(path, size) as writer:
        for subject, walks in zip(subjects, mapped(make, subjects, workers), strict=True):
            for (condition, view), silhouettes in walks.items():
                writer.add((f"{subject:04d}", condition, f"{view:03d}"), silhouettes)
            if progress:
                progress(subject)
        writer.finish(settings=dataclasses.asdict(settings))


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
        ConfigError: a subject, condition or view does not exist, or there is no worker.
        DatasetError: `root` already contains one of the subjects.

    """
    _check(subjects, conditions, views, workers)
    for subject in subjects:
        if (folder := root / f"{subject:04d}").exists():
            raise DatasetError(f"expected a place that is still free, but {folder} exists")
    root.mkdir(parents=True, exist_ok=True)
    write = partial(
        _write_subject,
        root=root,
        conditions=tuple(conditions),
        views=tuple(views),
        settings=settings,
    )
    for subject in mapped(write, subjects, workers):
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


def _aligned_walks(
    subject: int,
    *,
    conditions: Sequence[str],
    views: Sequence[int],
    settings: WalkerSettings,
    size: tuple[int, int],
) -> dict[tuple[str, int], NDArray[np.uint8]]:
    return {
        (condition, view): align(masks, size).silhouettes
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
    """Write one subject's folder under a temporary name, then rename it; return the subject."""
    name = f"{subject:04d}"
    part = root / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    for condition in conditions:
        for view, masks in render_walks(subject, condition, views, settings).items():
            folder = part / condition / f"{view:03d}"
            folder.mkdir(parents=True)
            for number, mask in enumerate(masks, start=1):
                file = folder / f"{name}-{condition}-{view:03d}-{number:03d}.png"
                write_png(file, mask)
    os.replace(part, root / name)
    return subject
