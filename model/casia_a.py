"""CASIA Dataset A (20 real people, three views, four passes each), and rank-1 on it.

The folder holds `<subject>/<view>_<pass>.zip` of PNG silhouettes. Same view: gallery passes 1 and
2, probe passes 3 and 4. Two views: all passes of one are the gallery, all of the other the probes.
"""

import zipfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Interval, mean_interval
from model.dataset.raw import decode, in_order
from model.errors import DatasetError, SilhouetteError
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
        DatasetError: as in `walk_files`, or a walk cannot be read or shows nobody.

    """
    for key, frames in recordings(folder):
        try:
            yield key, align(frames, size).silhouettes
        except SilhouetteError as error:
            raise DatasetError(f"{_path_of(folder, key)}: {error}") from error


def recordings(folder: Path) -> Iterator[tuple[Key, list[Walk]]]:
    """Yield every walk as recorded: its frames in order, uint8 `[H, W]` each.

    Raises:
        DatasetError: as in `walk_files`, or a walk cannot be read.

    """
    for key in walk_files(folder):
        yield key, _frames(_path_of(folder, key))


def walk_files(folder: Path) -> list[Key]:
    """Return the keys of all walk files.

    Raises:
        DatasetError: a file has another name than a walk, or nobody has some view and pass.

    """
    paths = sorted(folder.glob("*/*_*.zip"))
    keys = [_key_of(path) for path in paths]
    there = {key[1:] for key in keys}
    lacking = [
        f"{view}_{number}" for view, number in product(VIEWS, EVERY) if (view, number) not in there
    ]
    if lacking:
        raise DatasetError(
            f"expected <subject>/<view>_<pass>.zip of CASIA-A in {folder}, got none"
            + (f" named {', '.join(lacking)}" if keys else "")
        )
    return keys


def _key_of(path: Path) -> Key:
    view, _, number = path.stem.partition("_")
    if view not in VIEWS or number not in map(str, EVERY):
        raise DatasetError(f"expected the name <view>_<pass>.zip of CASIA-A, got {path}")
    return path.parent.name, view, int(number)


def _path_of(folder: Path, key: Key) -> Path:
    subject, view, number = key
    return folder / subject / f"{view}_{number}.zip"


def _frames(path: Path) -> list[Walk]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            return [decode(archive.read(name)) for name in sorted(names, key=in_order)]
    # The latter two for an encrypted file, and a compression that zipfile does not know.
    except (DatasetError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DatasetError(f"expected a zip of PNG pictures in {path}, got: {error}") from error


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
