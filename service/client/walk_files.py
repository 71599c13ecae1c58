"""Turns a walk of the caller's into the files of a form."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.archives import natural_key
from service.errors import NoWalksError
from service.packed import pack

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
FILES = frozenset({".zip", ".npy", ".npz", ".mgpk", ".mp4", ".avi"})

WalkSource = Path | str | Sequence[Path] | NDArray[Any]
Part = tuple[str, tuple[str, bytes]]
"""A file of a form: the field's name, then the file's name and content."""


def form_files(walk: WalkSource) -> list[Part]:
    """Turn a walk into form files: one `sequence`, or several `frames`.

    Raises:
        NoWalksError: it is no walk, or cannot be read.

    """
    if isinstance(walk, np.ndarray | Path | str):
        return [sequence(walk)]
    return [("frames", ("frame", _read(path))) for path in _pictures(walk)]


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture of a walk."""
    return path.suffix.lower() in PICTURES and not is_litter(path.name)


def is_litter(name: str) -> bool:
    """Tell whether a file or folder is hidden, as those that a Mac adds beside each of ours are."""
    return name.startswith(".") or name == "__MACOSX"


def sequence(walk: WalkSource) -> Part:
    """Turn a walk into one form file; raises NoWalksError as `form_files` does."""
    return "sequence", ("walk", _as_file(walk))


def _pictures(walk: Sequence[Path]) -> list[Path]:
    if isinstance(walk, Sequence) and walk and all(isinstance(path, Path) for path in walk):
        return list(walk)
    raise NoWalksError(
        "expected a walk as a path, an array uint8 or bool [frames, height, width], or a list of "
        f"paths of pictures, got {type(walk).__name__}"
    )


def _as_file(walk: WalkSource) -> bytes:
    """Return a walk as the bytes of one file that the service reads."""
    if isinstance(walk, np.ndarray):
        return pack(walk)
    if not isinstance(walk, Path | str):
        return _zipped(_pictures(walk))
    path = Path(walk)
    if path.is_dir():
        return _zipped(_inside(path))
    if not path.is_file():
        raise NoWalksError(f"expected a file or a folder of pictures at {path}, got nothing")
    return _read(path)


def _inside(folder: Path) -> list[Path]:
    """Return the pictures in a folder, in the natural order of their names."""
    try:
        found = [path for path in folder.iterdir() if is_picture(path)]
    except OSError as error:
        raise NoWalksError(
            f"expected a folder that can be read at {folder}, got: {error.strerror}"
        ) from error
    return sorted(found, key=lambda picture: natural_key(picture.name))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoWalksError(
            f"expected a file that can be read at {path}, got: {error.strerror}"
        ) from error


def _zipped(pictures: Sequence[Path]) -> bytes:
    """Put pictures into a zip archive in this order, stored: they are compressed already."""
    if not pictures:
        raise NoWalksError("expected PNG or JPEG pictures, got none")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, path in zip(_entries(pictures), pictures, strict=True):
            # Not by its path, because zip cannot express file times before 1980.
            archive.writestr(name, _read(path))
    return file.getvalue()


def _entries(pictures: Sequence[Path]) -> list[str]:
    """Name the pictures so that the service, which sorts them by name, keeps their order."""
    names = [_plain(path.name) for path in pictures]
    is_kept = len(set(names)) == len(names) and names == sorted(names, key=natural_key)
    if is_kept and not any(is_litter(name) for name in names):
        return names
    return [f"{place:06} {name}" for place, name in enumerate(names)]


def _plain(name: str) -> str:
    """Replace what a file's name may hold and an archive's entry may not."""
    return "".join(one if one.isprintable() and one not in ":\\" else "_" for one in name)
