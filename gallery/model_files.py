"""The files of the models that a gallery's generations were made with, kept in the data folder.

A generation names its model, and a running service must be able to open that model when the
generation goes live. So whoever makes a generation first copies the file here, under that id.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

from gallery.durable import sync_folder
from gallery.errors import ModelFileMissing, StoreUnavailable

FOLDER = "models"
_SUFFIX = ".onnx"
_BLOCK = 1024 * 1024


class ModelFiles:
    """A folder with one model file per id; files appear whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, data: Path) -> Self:
        """Return the model files of a data folder."""
        return cls(data / FOLDER)

    def add(self, source: Path, model_id: str) -> str:
        """Copy a model's file here unless it is present; return its SHA-256, 64 hex digits.

        Raises:
            ModelFileMissing: the file does not belong to that model; an id ends with the digits
                that the file's SHA-256 begins with.
            StoreUnavailable: the file cannot be read, or the folder cannot be written.

        """
        target = self._path(model_id)
        try:
            digest = sha256_of(source)
            if not digest.startswith(model_id.rpartition("-")[2]):
                raise ModelFileMissing(
                    f"expected {source} to be the file of {model_id}, got SHA-256 {digest}"
                )
            if not (target.is_file() and sha256_of(target) == digest):
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _copy_whole(source, target)
        except OSError as error:
            raise StoreUnavailable(
                f"expected to keep a copy of {source} as {target}, got: {error.strerror}"
            ) from error
        return digest

    def find(self, model_id: str, sha256: str | None = None) -> Path:
        """Return the path of a model's file, after checking its content if the SHA-256 is known.

        Raises:
            ModelFileMissing: there is none, or its SHA-256 is a different one.

        """
        path = self._path(model_id)
        if not path.is_file():
            raise ModelFileMissing(
                f"expected the model file of {model_id} at {path}, got none: copy it there, or "
                f"run `metagait rebuild --model FILE` with it"
            )
        if sha256 is not None and (found := sha256_of(path)) != sha256:
            raise ModelFileMissing(
                f"expected {path} with SHA-256 {sha256}, got {found}: it is not the file that "
                "embedded the gallery"
            )
        return path

    def ids(self) -> tuple[str, ...]:
        """List the ids of the models whose files are here."""
        return tuple(sorted(unquote(path.stem) for path in self.folder.glob(f"*{_SUFFIX}")))

    def _path(self, model_id: str) -> Path:
        # An id contains a name that somebody chose; quoting makes it a single file name.
        return self.folder / f"{quote(model_id, safe='')}{_SUFFIX}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_whole(source: Path, target: Path) -> None:
    """Copy so that `target` is never seen half-written, and its content survives a power cut."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as copy, source.open("rb") as original:
            shutil.copyfileobj(original, copy, _BLOCK)
            copy.flush()
            os.fsync(copy.fileno())
        Path(name).replace(target)
        sync_folder(target.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
