"""OpenGait's trees: `<id>/<type>/<view>/<view>.pkl`, a pickled array uint8 `[T, S, S]` per sample.

Their frames are already cropped to the rows of the body, scaled to a height of S (64 or 128) with
the aspect ratio kept, and centred where the cumulative mass passes one half. `align` does the same,
so the frames are only cropped to the width; a tree with 128 rows is aligned again if 64x44 is
wanted. What still differs from `align`, about 4 grey levels on average, all at the outline:

- OpenGait resizes the whole picture before it finds the body's middle, `align` only the body, so
  the middle falls on another fraction of a pixel.
- OpenGait resizes with bicubic interpolation, `align` by area when shrinking, so outlines are
  harder.
- OpenGait crops to the rows with any pixel above 0, `align` to those above 127. With binary masks
  this is the same.
- `align` also drops frames in which the picture's edge cuts off the body; here they cannot be told
  from others.
- The direction of walking is lost, so walks to the right are mirrored only in the views listed in
  `rightward`.
- A tree with 64 rows has too little resolution for 128x88 and is refused.

Offline only: nothing that serves may import this module.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.dataset.layouts import Layout, is_opengait
from model.dataset.raw import AlignedWalk, Scan, doubt
from model.dataset.report import Findings, Grid
from model.dataset.trees import SubjectFolders, scan_tree
from model.dataset.unpickle import MAX_BYTES, load_array
from model.errors import DatasetError
from model.silhouettes import align_frame

MAX_FRAMES = 10_000


@dataclass(frozen=True)
class SubjectPickles:
    """The pickles of one subject, in the folders of its samples."""

    folders: SubjectFolders
    rightward: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The subject's id."""
        return self.folders.name

    def stamp(self) -> str:
        """Return names and modification times of the folders."""
        return self.folders.stamp()

    def walks(self, size: tuple[int, int], findings: Findings) -> Iterator[AlignedWalk]:
        """Read and crop the samples one by one."""
        for condition, view, path in self.folders.samples:
            name = f"{self.name}/{condition}/{view}"
            file = _pickle_of(path, name, findings)
            if file is None:
                continue
            try:
                frames = cut(_read(file), size, mirrored=view in self.rightward)
            except DatasetError as error:
                findings.broken.append(f"{name}/{file.name} ({error})")
                continue
            shown = frames[[align_frame(frame, size) is not None for frame in frames]]
            if not len(shown):
                findings.empty.append(f"{name} (no body in {len(frames)} pictures)")
                continue
            if why := doubt(frames):
                findings.doubtful.append(f"{name} ({why})")
            if len(shown) < len(frames):
                dropped = len(frames) - len(shown)
                findings.partial.append(f"{name} ({dropped} of {len(frames)} frames: empty)")
            yield (self.name, condition, view), np.ascontiguousarray(shown)


def opengait(rightward: Collection[str] = (), grid: Grid | None = None) -> Layout:
    """Return OpenGait's layout; walks in the views `rightward` go to the right and are mirrored.

    `grid` lists the samples the dataset should have, if it is a known one.
    """

    def scan(root: Path) -> Scan:
        found = scan_tree(root)
        pickles = tuple(
            SubjectPickles(portion, frozenset(rightward))
            for portion in found.portions
            if isinstance(portion, SubjectFolders)
        )
        return replace(found, portions=pickles)

    looks = "OpenGait's <id>/<type>/<view>/<view>.pkl"
    return Layout("opengait", looks, is_opengait, scan, grid)


def cut(
    frames: NDArray[Any], size: tuple[int, int], *, mirrored: bool = False
) -> NDArray[np.uint8]:
    """Crop frames uint8 or bool `[T, S, S]`, S 64 or 128, to a walk uint8 `[T, H, W]`.

    Raises:
        DatasetError: the array has another shape, or is smaller than `size`.

    """
    square = frames.shape[-1] if frames.ndim == 3 else 0
    if square not in (64, 128) or frames.shape[1] != square or len(frames) > MAX_FRAMES:
        raise DatasetError(
            f"expected an array [T, 64, 64] or [T, 128, 128] of at most {MAX_FRAMES} frames, "
            f"got {list(frames.shape)}"
        )
    height, width = size
    if square < height:
        raise DatasetError(f"expected frames of {height} rows for {size}, got {square} rows")
    grey = (_mirrored(frames) if mirrored else frames).astype(np.uint8)
    if grey.size and grey.max() == 1:
        grey *= np.uint8(255)
    if square == height:
        left = height // 2 - width // 2
        return grey[:, :, left : left + width]
    walk = np.zeros((len(grey), height, width), np.uint8)
    for frame, picture in zip(walk, grey, strict=True):
        if (smaller := align_frame(picture, size)) is not None:
            frame[:] = smaller
    return walk


def _mirrored(frames: NDArray[Any]) -> NDArray[Any]:
    """Mirror square frames, then shift by one column so that the body's middle stays in place."""
    return np.roll(frames[..., ::-1], 1, axis=-1)


def _pickle_of(folder: Path, name: str, findings: Findings) -> Path | None:
    """Select the pickle of a sample, `<view>.pkl` if there are several, and record all others."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    pickles = [path for path in files if path.suffix == ".pkl"]
    chosen = next((p for p in pickles if p.stem == folder.name), None)
    if chosen is None and len(pickles) == 1:
        (chosen,) = pickles
    if chosen is None and pickles:
        findings.broken.append(f"{name} (several .pkl files, none of them {folder.name}.pkl)")
    elif chosen is None:
        findings.empty.append(f"{name} (no .pkl file)")
    findings.ignored += [f"{name}/{path.name}" for path in files if path not in pickles]
    findings.ignored += [f"{name}/{p.name}" for p in pickles if chosen and p != chosen]
    return chosen


def _read(file: Path) -> NDArray[Any]:
    if file.stat().st_size > MAX_BYTES:
        raise DatasetError(f"expected at most {MAX_BYTES} bytes")
    return load_array(file.read_bytes())
