"""CASIA Dataset A (20 real people, three views, four passes each), and rank-1 on it.

The folder holds `<subject>/<view>_<pass>.zip` of PNG silhouettes. Same view: gallery passes 1 and
2, probe passes 3 and 4. Two views: all passes of one are the gallery, all of the other the probes.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Interval, mean_interval
from model.errors import DatasetError
from model.protocols import Measure
from model.silhouettes import align

Walk = NDArray[np.uint8]
Key = tuple[str, str, int]
"""Subject, view, pass."""
Embeddings = dict[Key, NDArray[np.float32]]
Side = tuple[str, tuple[int, ...]]
"""A view and some of its passes."""

VIEWS = ("00", "45", "90")
CROSS = (("00", "45"), ("45", "00"), ("45", "90"), ("90", "45"), ("00", "90"))
EVERY = (1, 2, 3, 4)
SAME: tuple[tuple[Side, Side], ...] = tuple(((view, (1, 2)), (view, (3, 4))) for view in VIEWS)


def walks(folder: Path, size: tuple[int, int] = (64, 44)) -> Iterator[tuple[Key, Walk]]:
    """Yield every walk of the dataset, aligned, with its key (subject, view, pass).

    Raises:
        DatasetError: the folder contains none.

    """
    for key, frames in recordings(folder):
        yield key, align(frames, size).silhouettes


def recordings(folder: Path) -> Iterator[tuple[Key, list[Walk]]]:
    """Yield every walk as recorded: its frames in order, uint8 `[H, W]` each.

    Raises:
        DatasetError: the folder contains none.

    """
    for path in walk_files(folder):
        view, number = path.stem.split("_")
        with zipfile.ZipFile(path) as archive:
            pictures = [archive.read(name) for name in sorted(archive.namelist())]
        key = (path.parent.name, view, int(number))
        yield key, [_decoded(picture, path) for picture in pictures]


def walk_files(folder: Path) -> list[Path]:
    """Return the walk files; raise DatasetError if there are none."""
    paths = sorted(folder.glob("*/*_*.zip"))
    if not paths:
        raise DatasetError(f"expected <subject>/<view>_<pass>.zip of CASIA-A in {folder}, got none")
    return paths


def _decoded(picture: bytes, path: Path) -> Walk:
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        raise DatasetError(f"expected PNG pictures in {path}, got something else")
    return decoded.astype(np.uint8)


def hits(
    embeddings: Embeddings, gallery: Side, probe: Side, measure: Measure
) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
    """Return whether each probe's nearest gallery walk is its subject's, and that subject."""
    known, asked = (
        [key for key in embeddings if key[1] == view and key[2] in passes]
        for view, passes in (gallery, probe)
    )
    distances = measure(*(np.stack([embeddings[key] for key in side]) for side in (asked, known)))
    subjects, owners = (np.array([key[0] for key in side]) for side in (asked, known))
    own = subjects[:, None] == owners[None]
    right = np.where(own, distances, np.inf).min(axis=1)
    return right < np.where(own, np.inf, distances).min(axis=1), subjects


def figures(
    embeddings: Embeddings, pairs: Sequence[tuple[Side, Side]], measure: Measure
) -> tuple[list[float], Interval]:
    """Return rank-1 of each gallery and probe pair, and the mean over pairs with its interval."""
    found = [hits(embeddings, gallery, probe, measure) for gallery, probe in pairs]
    places = np.repeat(np.arange(len(found)), [len(hit) for hit, _ in found])
    values, subjects = (np.concatenate(column) for column in zip(*found, strict=True))
    return [float(hit.mean()) for hit, _ in found], mean_interval(values, subjects, groups=places)
