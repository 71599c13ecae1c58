"""Tiny datasets on disk, in every layout."""

import io
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from model.dataset import Dataset, PackedWriter, Sample


def body(height: int = 40, left: int = 30) -> np.ndarray:
    """Return a picture with a body that leans, so that its mirror image is another one."""
    picture = np.zeros((80, 100), np.uint8)
    picture[20 : 20 + height, left : left + 15] = 255
    picture[20 : 20 + height // 2, left + 15 : left + 20] = 255
    return picture


def walk(length: int = 16, first: int = 30) -> list[np.ndarray]:
    """Return pictures of a body that grows; it stays in its place."""
    return [body(first + number // 2) for number in range(length)]


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def write_sample(root: Path, name: str, frames: Iterable[np.ndarray]) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, start=1):
        (folder / f"{name.replace('/', '-')}-{number:03}.png").write_bytes(png(frame))
    return folder


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> None:
    """Write members by name: the bytes of a file, or a header of another kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            header = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            header.name = name
            if isinstance(content, bytes):
                header.size = len(content)
            archive.addfile(header, io.BytesIO(content) if isinstance(content, bytes) else None)


def write_pickle(root: Path, name: str, frames: np.ndarray, protocol: int = 4) -> Path:
    """Write `<id>/<type>/<view>` as OpenGait does."""
    folder = root / name
    folder.mkdir(parents=True)
    file = folder / f"{folder.name}.pkl"
    file.write_bytes(pickle.dumps(frames, protocol))
    return file


def write_cache(dataset: Dataset, path: Path) -> None:
    """Write the samples of a dataset as a packed cache."""
    with PackedWriter(path, dataset.size) as writer:
        for sample in dataset.samples:
            writer.add((sample.subject, sample.condition, sample.view), sample.silhouettes())
        writer.finish()


class Frames:
    """A source of frames that are all alike."""

    def read(self) -> np.ndarray:
        return np.full((3, 64, 44), 7, np.uint8)


def numbered(*subjects: str) -> Dataset:
    return Dataset(tuple(Sample(s, "nm-01", "090", 3, Frames()) for s in subjects))
