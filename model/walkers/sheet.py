"""Draws a contact sheet that shows what the walkers look like."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError
from model.silhouettes import align
from model.walkers.generate import render_walk, render_walks
from model.walkers.png import write_png
from model.walkers.settings import VIEWS, WalkerSettings

_CONDITIONS = ("nm-01", "bg-01", "cl-01")
_SIZE = (128, 88)
_GAP = 4


def contact_sheet(subjects: range, settings: WalkerSettings) -> NDArray[np.uint8]:
    """Return a picture: per subject three rows of eleven views, then a strip of phases."""
    rows = []
    for subject in subjects:
        for condition in _CONDITIONS:
            walks = render_walks(subject, condition, VIEWS, settings)
            rows.append([_middle(walks[view]) for view in VIEWS])
        strip = align(render_walk(subject, "nm-01", 90, settings), _SIZE).silhouettes
        picks = np.linspace(0, min(len(strip) - 1, 27), len(VIEWS)).astype(int)
        rows.append(list(strip[picks]))
    sheet: NDArray[np.uint8] = np.concatenate([_row(row) for row in rows])
    return ~sheet


def write_sheet(path: Path, subjects: range, settings: WalkerSettings) -> None:
    """Write the contact sheet; raise DatasetError if the name does not end in .png."""
    if path.suffix.lower() != ".png":
        raise DatasetError(f"expected the sheet's name to end in .png, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, contact_sheet(subjects, settings))


def _middle(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    silhouette: NDArray[np.uint8] = align(masks[len(masks) // 2 :][:1], _SIZE).silhouettes[0]
    return silhouette


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    padded = [np.pad(picture, _GAP // 2) for picture in pictures]
    return np.concatenate(padded, axis=1)
