"""Renders projected rings into masks: every pair of rings becomes one convex polygon."""

import cv2
import numpy as np
from numpy.typing import NDArray

# A hull is approximated by its furthest points in this many directions.
_DIRECTIONS = 24
_ANGLES = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
_AXES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)]).astype(np.float32)
# OpenCV takes polygon coordinates in fixed point, with this many fractional bits.
_SHIFT = 3


def hulls(rings: NDArray[np.float32], pairs: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return convex polygons `[T, M, K, 2]` around pairs `[M, 2]` of rings `[T, R, n, 2]`.

    The vertices are the furthest points in K directions, so one matrix product yields all hulls of
    a walk; a vertex that turns the outline by less than 360°/K may be missed.
    """
    reach = rings @ _AXES  # [T, R, n, K]
    furthest = reach.argmax(axis=2)  # [T, R, K]
    best = np.take_along_axis(reach, furthest[:, :, None], axis=2)[:, :, 0]
    points = np.take_along_axis(rings, furthest[..., None], axis=2)  # [T, R, K, 2]
    first, second = pairs[:, 0], pairs[:, 1]
    outer = (best[:, first] >= best[:, second])[..., None]
    return np.where(outer, points[:, first], points[:, second])


def fill(polygons: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Fill polygons `[T, M, K, 2]` into masks uint8 `[T, *size]` of 0 and 255."""
    masks = np.zeros((len(polygons), *size), np.uint8)
    # A pixel's centre is at its integer coordinates, hence the half pixel.
    fixed = np.ascontiguousarray(np.rint((polygons - 0.5) * (1 << _SHIFT)).astype(np.int32))
    for mask, frame in zip(masks, fixed, strict=True):
        for polygon in frame:
            cv2.fillConvexPoly(mask, polygon, 255, cv2.LINE_8, _SHIFT)
    return masks
