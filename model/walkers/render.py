"""Projected rings -> masks: every pair of rings is one convex polygon."""

import cv2
import numpy as np
from numpy.typing import NDArray

# A hull is the polygon of its furthest points in this many directions.
_DIRECTIONS = 24
_ANGLES = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
_AXES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)]).astype(np.float32)
# OpenCV takes polygons in fixed point with this many binary places.
_SHIFT = 3


def hulls(rings: NDArray[np.float32], pairs: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return convex polygons `[T, M, K, 2]` around pairs `[M, 2]` of rings `[T, R, n, 2]`.

    The furthest point in each of K directions is a vertex, so all hulls of a walk come from one
    matrix product; a vertex that turns the outline by less than 360°/K may be left out.
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
    # A pixel's centre is at its whole number, so half a pixel comes off.
    fixed = np.ascontiguousarray(np.rint((polygons - 0.5) * (1 << _SHIFT)).astype(np.int32))
    for mask, frame in zip(masks, fixed, strict=True):
        for polygon in frame:
            cv2.fillConvexPoly(mask, polygon, 255, cv2.LINE_8, _SHIFT)
    return masks
