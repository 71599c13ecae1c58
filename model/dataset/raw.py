"""Reads pictures from disk into aligned walks, one portion of a source at a time.

A layout divides a source into portions, the units that one process reads at a time. Reading a
portion yields the usable walks and records everything else.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from model.dataset.report import Findings, Place
from model.errors import DatasetError, SilhouetteError
from model.quality import Bounds, grey_share
from model.silhouettes import align

MAX_PICTURE_BYTES = 32 * 1024**2
MAX_PICTURE_PIXELS = 64 * 1024**2

_PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"

AlignedWalk = tuple[Place, NDArray[np.uint8]]
"""A sample's subject, condition and view, and its silhouettes, uint8 `[T, H, W]`."""


class Portion(Protocol):
    """What one process reads at a time: a subject's folders, or an archive."""

    @property
    def name(self) -> str:
        """The portion's name in error messages."""
        ...

    def stamp(self) -> str:
        """Return text that changes when files are added or removed; cheap, reads no picture."""
        ...

    def walks(self, size: tuple[int, int], findings: Findings) -> Iterator[AlignedWalk]:
        """Yield the aligned walks, and record what is wrong in `findings`.

        Raises:
            DatasetError: the portion as a whole cannot be read.

        """
        ...


@dataclass(frozen=True)
class Scan:
    """The portions of a source, in order, and what does not fit its layout."""

    portions: tuple[Portion, ...]
    ignored: tuple[str, ...] = ()


@dataclass
class Pictures:
    """The pictures of one sample as files: encoded bytes by file name."""

    place: Place
    files: dict[str, bytes] = field(default_factory=dict)

    def aligned(self, size: tuple[int, int], findings: Findings) -> Iterator[AlignedWalk]:
        """Yield the aligned walk, or nothing if no picture shows a body."""
        name = "/".join(self.place)
        if not self.files:
            findings.empty.append(f"{name} (no picture)")
            return
        frames = list(_decoded(name, self.files, findings))
        if not frames:
            findings.broken.append(f"{name} (none of its {len(self.files)} pictures can be read)")
            return
        try:
            walk = align(frames, size)
        except SilhouetteError:
            findings.empty.append(f"{name} (no body in {len(frames)} pictures)")
            return
        if why := doubt(frames):
            findings.doubtful.append(f"{name} ({why})")
        if reasons := ", ".join(walk.report.dropped):
            dropped = walk.report.received - walk.report.used
            findings.partial.append(f"{name} ({dropped} of {len(frames)} frames: {reasons})")
        yield self.place, walk.silhouettes


def doubt(frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> str:
    """Return why most frames uint8 `[h, w]` do not look like silhouettes; empty if they do."""
    if 2 * sum(_is_lit_around(frame) for frame in frames) > len(frames):
        return "black on white?"
    return "photographs?" if 2 * sum(_is_grey(frame) for frame in frames) > len(frames) else ""


def _is_lit_around(frame: NDArray[np.uint8]) -> bool:
    """Return whether most of the edge is white; a cropped body touches it only in places."""
    edge = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
    return bool(2 * np.count_nonzero(edge > (127 if frame.max() > 1 else 0)) > len(edge))


def _is_grey(frame: NDArray[np.uint8]) -> bool:
    return grey_share(frame) > Bounds().grey


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a PNG file to grey uint8 `[h, w]`.

    Raises:
        DatasetError: it is not a PNG file, is damaged, or is larger than any silhouette.

    """
    if not data.startswith(_PNG_HEAD) or len(data) < len(_PNG_HEAD) + 8:
        raise DatasetError(f"expected a PNG file, got {len(data)} bytes of something else")
    width, height = struct.unpack_from(">II", data, len(_PNG_HEAD))
    if width * height > MAX_PICTURE_PIXELS:
        raise DatasetError(f"expected at most {MAX_PICTURE_PIXELS} pixels, got {width}x{height}")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        picture = None
    if picture is None:
        raise DatasetError("expected a whole PNG file, got a damaged one")
    return np.asarray(picture, np.uint8)


def in_order(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Return a sort key that puts frame 10 after frame 9, with or without leading zeros."""
    pieces = [piece for piece in re.split(r"([0-9]+)", name) if piece]
    return tuple(_numbered(p) if p[0] in "0123456789" else (True, 0, p) for p in pieces)


def _numbered(digits: str) -> tuple[bool, int, str]:
    """Return a sort key for a number; a name in an archive may be too long for `int`."""
    significant = digits.lstrip("0")
    return False, len(significant), significant


def _decoded(
    name: str, files: Mapping[str, bytes], findings: Findings
) -> Iterator[NDArray[np.uint8]]:
    for file in sorted(files, key=in_order):
        try:
            yield decode(files[file])
        except DatasetError as error:
            findings.broken.append(f"{name}/{file} ({error})")
