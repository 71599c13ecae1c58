"""The folder of a compact index: file names, lock and manifest, with crash-safe writes."""

import fcntl
import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gallery.durable import sync_folder
from gallery.errors import IndexUnavailable
from gallery.indexes.projection import Projection

_FORMAT = "metagait-compact-2"


class Manifest(NamedTuple):
    """What the folder holds."""

    name: str
    """Name of the generation whose vectors these are."""
    length: int
    dimensions: int
    version: int = 0
    """Number of the projection; 0 before there is one."""
    synced: int = 0
    """Records up to this serial are on the disk, along with their vectors."""
    format: str = _FORMAT


class Folder:
    """The folder of a compact index; one process may use it at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Gait is biometric data: only the owner may enter a folder that we create.
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: int | None = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise IndexUnavailable(
                f"expected a folder for the index at {path}, got: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise IndexUnavailable(
                f"expected to be the only process that uses the index in {path}, got another that "
                "does: every process needs a data folder of its own"
            ) from error
        self.originals = path / "originals"

    def close(self) -> None:
        """Release the lock for other processes; a second call does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:  # the descriptor may be reused for another file later
            os.close(lock)

    def codes(self, version: int) -> Path:
        """Return the path of the codes made by the projection `version`."""
        return self._path / f"codes-{version}"

    def manifest(self) -> Manifest | None:
        """Read the manifest; None if it is missing or unreadable."""
        try:
            read = json.loads((self._path / "manifest.json").read_text(encoding="utf-8"))
            return Manifest(**read)
        except (OSError, ValueError, TypeError):
            return None

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest atomically: a crash leaves the old or the new one."""
        self._replace("manifest.json", json.dumps(manifest._asdict()).encode())

    def projection(self, version: int) -> Projection | None:
        """Read a projection; None if it is missing or unreadable."""
        try:
            with np.load(self._path / f"projection-{version}.npz", allow_pickle=False) as file:
                kept, trained_at = float(file["kept"]), int(file["trained_at"])
                return Projection(file["mean"], file["basis"], file["levels"], kept, trained_at)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def write_projection(self, version: int, projection: Projection) -> None:
        """Write a projection next to the current one."""
        path = self._path / f"projection-{version}.npz"
        with path.open("wb") as file:
            np.savez(
                file,
                mean=projection.mean,
                basis=projection.basis,
                levels=projection.levels,
                kept=projection.kept,
                trained_at=projection.trained_at,
            )
            file.flush()
            os.fsync(file.fileno())

    def forget(self, version: int) -> None:
        """Delete the codes and the projection of a version."""
        self.codes(version).unlink(missing_ok=True)
        (self._path / f"projection-{version}.npz").unlink(missing_ok=True)

    def doubt(self) -> None:
        """Delete the manifest, so that the next start trusts nothing here."""
        (self._path / "manifest.json").unlink(missing_ok=True)

    def tidy(self, manifest: Manifest) -> None:
        """Delete files that the manifest does not cover, such as remains of a killed process."""
        kept = {"lock", "manifest.json", self.originals.name, self.codes(manifest.version).name}
        kept.add(f"projection-{manifest.version}.npz")
        for path in self._path.iterdir():
            if path.name not in kept:
                path.unlink()

    def empty(self) -> None:
        """Delete everything but the lock; first the manifest, which vouches for the rest."""
        self.doubt()
        sync_folder(self._path)
        for path in self._path.iterdir():
            if path.name != "lock":
                path.unlink()

    def _replace(self, name: str, content: bytes) -> None:
        temporary = self._path / f"{name}.new"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path / name)
        sync_folder(self._path)


def open_file(path: Path) -> int:
    """Open a file to read and write, creating it for its owner alone if it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
