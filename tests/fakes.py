"""Stand-ins given through constructors, and walks small enough to work out by hand."""

import io
import threading
import zipfile
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from model.encoder import ModelFacts, Runtime, Threshold
from model.outline import Outline

SIZE = (64, 44)
PARTS, DIMENSIONS = 8, 11
THRESHOLD = Threshold(
    distance=0.5, target_fpir=0.01, fnir=0.1, gallery_subjects=3, searches=300, source="fake"
)


def facts(**changes: object) -> ModelFacts:
    """Facts of the fake model."""
    values: dict[str, object] = {
        "model_id": "fake-000000000000",
        "name": "fake",
        "size": SIZE,
        "parts": PARTS,
        "dimensions": DIMENSIONS,
        "preprocessing_id": "metagait-align-2",
        "max_frames": 300,
        "threshold": THRESHOLD,
    }
    return ModelFacts(**{**values, **changes})  # type: ignore[arg-type]


def mean_picture(walk: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The fake network: the mean silhouette in blocks of 8 × 4 pixels, float32 `[88]`."""
    mean = walk.astype(np.float64).mean(axis=0) / 255
    return mean.reshape(PARTS, 8, DIMENSIONS, 4).mean(axis=(1, 3)).ravel().astype(np.float32)


def picture_of(frame: NDArray[np.uint8] | Outline) -> NDArray[np.uint8]:
    """The whole picture `[h, w]` again; what an outline tells of a mask is all of it."""
    if not isinstance(frame, Outline):
        return frame
    picture = np.zeros((frame.height, frame.width), np.uint8)
    left, top, width, height = frame.box
    picture[top : top + height, left : left + width] = frame.mask
    return picture


class FakeEncoder:
    """An `Encoder` whose embedding is `mean_picture`; can be made to fail or to wait."""

    def __init__(self, **changes: object) -> None:
        self.facts = facts(**changes)
        self.runtime = Runtime("fake", "FakeProvider", "float32", 1, 1)
        self.batches: list[list[int]] = []
        self.closed = False
        self.failure: Exception | None = None
        self.missing = 0
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append([len(walk) for walk in walks])
        self.entered.set()
        assert self.free.wait(timeout=20)
        if self.failure is not None:
            raise self.failure
        return np.stack([mean_picture(walk) for walk in walks])[self.missing :]

    def close(self) -> None:
        self.closed = True


def walker(build: int, frames: int = 20, *, height: int = 80) -> NDArray[np.uint8]:
    """A made-up walk uint8 `[frames, 96, 72]`: a body of the given build whose legs swing."""
    walk = np.zeros((frames, 96, 72), np.uint8)
    for position, frame in enumerate(walk):
        swing = int(8 * np.sin(position / 3))
        top = 96 - height - 6
        cv2.circle(frame, (36, top + 8), 7, 255, -1)
        cv2.ellipse(frame, (36, top + 34), (build, 20), 0, 0, 360, 255, -1)
        cv2.line(frame, (36, top + 46), (36 + swing, 90), 255, 6)
        cv2.line(frame, (36, top + 46), (36 - swing, 90), 255, 6)
    return walk


def npy(array: NDArray[np.generic]) -> bytes:
    """An array as a `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz(**arrays: NDArray[np.generic]) -> bytes:
    """Arrays as a compressed `.npz` file."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def png(frame: NDArray[np.uint8]) -> bytes:
    """A frame as PNG."""
    return cv2.imencode(".png", frame)[1].tobytes()


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    """A frame as JPEG."""
    return cv2.imencode(".jpg", frame)[1].tobytes()


def zipped(entries: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Named bytes as a zip archive, in the order given."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def zipped_walk(walk: NDArray[np.uint8]) -> bytes:
    """A walk as a zip of PNG frames."""
    return zipped((f"{position:03d}.png", png(frame)) for position, frame in enumerate(walk))
