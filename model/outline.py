"""Finds the body in a picture once, for both alignment and quality.

A body fills a small part of most pictures. The bounding box of everything that is not black is
found first, in one pass over the picture; all further work looks only at that box.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

BODY = 127
"""Grey values above this are body."""


class Labelled(NamedTuple):
    """The connected pieces of a mask.

    Attributes:
        labels: `[h, w]`, the piece number of each pixel; 0 is no body.
        boxes: `[1 + pieces, 5]`, box and pixel count of each number, in OpenCV's format.

    """

    labels: NDArray[np.int32]
    boxes: NDArray[np.int32]


class Outline:
    """One frame uint8 `[h, w]`: a mask if its largest value is 1, else grey 0..255.

    Attributes:
        height, width: of the picture.
        is_mask: whether the largest value is 1.
        lit: the pixels within the box around everything that is not black; a copy.
        box: left, top, width and height of the body in the picture; height 0 if there is none.
        mask: the body within that box, as 0 and 1.
        pixels: the frame within that box.

    """

    __slots__ = (
        *("_labelled", "_pieces"),
        *("box", "height", "is_mask", "lit", "mask", "pixels", "width"),
    )

    def __init__(
        self, lit: NDArray[np.uint8], corner: tuple[int, int], size: tuple[int, int], is_mask: bool
    ) -> None:
        """Locate the body among the pixels `lit`, the box around everything that is not black.

        Args:
            lit: uint8 `[h, w]`, contiguous.
            corner: left and top of that box.
            size: height and width of the picture.
            is_mask: whether the largest value is 1.

        """
        (left, top), (self.height, self.width) = corner, size
        self.lit, self.is_mask = lit, is_mask
        self._labelled: Labelled | None = None
        self._pieces: int | None = None
        self.box: Sequence[int] = (left, top, lit.shape[1], lit.shape[0])
        self.mask = self.pixels = lit
        if not is_mask and lit.size:
            mask = cv2.threshold(lit, BODY, 1, cv2.THRESH_BINARY)[1]
            aside, below, wide, high = cv2.boundingRect(mask)
            within = slice(below, below + high), slice(aside, aside + wide)
            self.box = (left + aside, top + below, wide, high)
            self.mask, self.pixels = np.asarray(mask, np.uint8)[within], lit[within]

    @classmethod
    def of(cls, frame: NDArray[np.uint8]) -> "Outline":
        """Return the outline of a frame uint8 `[h, w]`, contiguous."""
        # Columns or-ed over their rows: which have content, and whether any value exceeds 1.
        columns = np.bitwise_or.reduce(frame, axis=0).tobytes()
        left, right = _filled(columns)
        is_mask = right > 0 and not columns.translate(None, b"\0\1")
        across = frame[:, left:right]
        _, top, _, rows = cv2.boundingRect(across) if right else (0, 0, 0, 0)
        # A copy, because later steps are a third faster on contiguous pixels.
        lit = np.ascontiguousarray(across[top : top + rows])
        return cls(lit, (left, top), np.shape(frame), is_mask)

    @classmethod
    def of_bits(cls, bits: NDArray[np.uint8], height: int, width: int) -> Iterator["Outline"]:
        """Yield the outlines of masks `[T, bytes]`, each packed flat as `np.packbits` does.

        Bits beyond a mask's last pixel, in its last byte, are ignored.
        """
        if width % 8:  # rows share bytes
            for frame in bits:
                pixels = np.unpackbits(frame, count=height * width)
                yield cls.of(pixels.reshape(height, width))
            return
        rows = bits.reshape(len(bits), height, width // 8)
        # Or-ed for all masks at once; only the pixels within the box are unpacked later.
        columns = np.unpackbits(_any_of(rows), axis=1)
        for packed, filled in zip(rows, columns, strict=True):
            left, right = _filled(filled.tobytes())
            first, last = left // 8, -(-right // 8)
            across = np.ascontiguousarray(packed[:, first:last])
            begin, end = _filled(across.tobytes())
            top, bottom = (begin // (last - first), -(-end // (last - first))) if right else (0, 0)
            near = np.unpackbits(across[top:bottom]).reshape(bottom - top, 8 * (last - first))
            lit = np.ascontiguousarray(near[:, left - 8 * first : right - 8 * first])
            yield cls(lit, (left, top), (height, width), right > 0)

    @property
    def pieces(self) -> int:
        """Number of connected pieces of the body, diagonals included; computed when first used."""
        if self._pieces is None:
            self._pieces = pieces_of(self.mask)
        return self._pieces

    @property
    def labelled(self) -> Labelled:
        """The pieces themselves; found when first used, which takes longer than counting them."""
        if self._labelled is None:
            self._labelled = labelled(self.mask)
        return self._labelled


def _filled(columns: bytes) -> tuple[int, int]:
    """Return the first column with content and the one after the last; 0, 0 if there is none."""
    right = len(columns.rstrip(b"\0"))
    return (len(columns) - len(columns.lstrip(b"\0")) if right else 0), right


def _any_of(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Or the rows `[T, h, n]` of each picture into one, `[T, n]`."""
    # numpy handles a few long rows several times as fast as many short ones. If the number is odd,
    # the middle row counts twice, which changes nothing.
    while (count := rows.shape[1]) > 8:
        half = (count + 1) // 2
        rows = rows[:, :half] | rows[:, count - half :]
    return np.asarray(np.bitwise_or.reduce(rows, axis=1), np.uint8)


def labelled(mask: NDArray[np.uint8]) -> Labelled:
    """Label the connected pieces of a mask `[h, w]`, diagonals included."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return Labelled(np.asarray(labels, np.int32), np.asarray(boxes, np.int32))


def pieces_of(mask: NDArray[np.uint8]) -> int:
    """Count the connected pieces of a mask, diagonals included."""
    return int(cv2.connectedComponents(mask, connectivity=8)[0]) - 1
