"""A picture, and the box around the body in it: looked for once, for alignment and quality alike.

A body fills a small part of most pictures. The box around everything that is not black comes
first, in one pass over the picture; whatever else is asked is asked of the box.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

BODY = 127
"""Grey values above this are body."""


class Outline:
    """One frame uint8 `[h, w]`: a mask when its largest value is 1, else grey 0..255.

    Attributes:
        height, width: of the picture.
        is_mask: whether the largest value is 1.
        lit: the pixels within the box around everything that is not black; a copy.
        box: left, top, width and height of the body in the picture; of no height without one.
        mask: 0 and 1 within that box, body is 1.
        pixels: the frame within that box.

    """

    __slots__ = ("_pieces", "box", "height", "is_mask", "lit", "mask", "pixels", "width")

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        self.height, self.width = frame.shape
        self._pieces: int | None = None
        # The columns' values or-ed: which columns hold something, and whether anything above 1.
        columns = np.bitwise_or.reduce(frame, axis=0).tobytes()
        right = len(columns.rstrip(b"\0"))
        left = len(columns) - len(columns.lstrip(b"\0")) if right else 0
        self.is_mask = right > 0 and not columns.translate(None, b"\0\1")
        across = frame[:, left:right]
        _, top, _, rows = cv2.boundingRect(across) if right else (0, 0, 0, 0)
        # A copy, because whatever looks at it next is a third quicker on pixels without gaps.
        self.lit = np.ascontiguousarray(across[top : top + rows])
        if self.is_mask:
            self.box: Sequence[int] = (left, top, right - left, rows)
            self.mask = self.pixels = self.lit
        elif right == 0:
            self.box, self.mask, self.pixels = (0, 0, 0, 0), self.lit, self.lit
        else:
            mask = cv2.threshold(self.lit, BODY, 1, cv2.THRESH_BINARY)[1]
            aside, below, wide, high = cv2.boundingRect(mask)
            within = slice(below, below + high), slice(aside, aside + wide)
            self.box = (left + aside, top + below, wide, high)
            self.mask, self.pixels = np.asarray(mask, np.uint8)[within], self.lit[within]

    @property
    def pieces(self) -> int:
        """Connected pieces of the body, diagonals included; counted when first asked for."""
        if self._pieces is None:
            self._pieces = pieces_of(self.mask)
        return self._pieces


def pieces_of(mask: NDArray[np.uint8]) -> int:
    """Count the connected pieces of a mask, diagonals included."""
    return int(cv2.connectedComponents(mask, connectivity=8)[0]) - 1
