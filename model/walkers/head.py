"""Builds neck, head and hair."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.walkers.body import Body
from model.walkers.pose import Pose
from model.walkers.rings import UP, SurfaceBuilder, level_ahead, stack, unit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Head:
    """The position of the head: points and unit vectors `[T, 3]`, sizes in metres."""

    base: Floats
    up: Floats
    ahead: Floats
    side: Floats
    size: float
    """From the neck's base to the crown."""

    def rings(self, rows: list[tuple[float, float, float, float, float]]) -> Floats:
        """Return rings from rows of (share of `size` above base, shift ahead, front, back, half)"""
        table = np.array(rows)
        shares = table[:, 0]
        # The neck leans forward up to the jaw; above that the head is upright.
        ahead = 0.11 * self.size * np.minimum(1.0, shares / 0.45) + table[:, 1]
        centres = self.base[:, None] + (shares * self.size)[:, None] * self.up[:, None]
        centres = centres + ahead[:, None] * self.ahead[:, None]
        return stack(
            centres, self.ahead, self.side, front=table[:, 2], back=table[:, 3], half=table[:, 4]
        )


def add_head(builder: SurfaceBuilder, body: Body, pose: Pose) -> None:
    """Add neck, face, skull and hair."""
    head = _place(body, pose)
    # Collars, and hair at the nape, make necks appear thicker than their skin.
    neck = 1.12 * body.neck_radius
    builder.add(head.rings([(-0.1, 0, neck, 1.05 * neck, 1.02 * neck), (0.4, 0, neck, neck, neck)]))
    builder.add(head.rings(_face(body)))
    builder.add(head.rings(_scalp(body, head.size)))
    if body.hair_length > 0:
        builder.add(head.rings(_long_hair(body, head.size)))
    elif body.ponytail:
        builder.add(head.rings(_ponytail(body)))


def _place(body: Body, pose: Pose) -> _Head:
    trunk = pose.trunk
    # People look where they are going: the head turns only a little with the shoulders.
    side = unit(0.3 * trunk.chest_side + 0.7 * np.array([0.0, 1.0, 0.0]))
    tilt = (0.4 * trunk.lean + pose.head_pitch)[:, None]
    ahead = level_ahead(side) * np.cos(tilt) - UP * np.sin(tilt)
    base = trunk.spine(np.array([trunk.neck_height]))[:, 0]
    size = body.stature - body.neck_height
    return _Head(base, np.cross(ahead, side), ahead, side, size)


def _face(body: Body) -> list[tuple[float, float, float, float, float]]:
    """Return rows for chin, mouth, cheek bones, brow, crown and top."""
    long, half, hair = 0.5 * body.head_length, 0.5 * body.head_breadth, body.hair
    return [
        (0.13, 0.012, 0.70 * long, 0.0, 0.42 * half),
        (0.30, 0.012, 0.92 * long, 0.55 * long, 0.88 * half),
        (0.50, 0.012, 1.02 * long, 0.90 * long + hair, 1.06 * half),
        (0.70, 0.012, 0.98 * long, 1.00 * long + hair, 1.04 * half + hair),
        (0.90, 0.012, 0.72 * long, 0.80 * long + hair, 0.90 * half + hair),
        (1.00, 0.012, 0.35 * long, 0.40 * long, 0.45 * half),
    ]


def _scalp(body: Body, size: float) -> list[tuple[float, float, float, float, float]]:
    long, half, hair = 0.5 * body.head_length, 0.5 * body.head_breadth, body.hair
    return [
        (0.75, -0.004, 0.80 * long, long + hair, 1.06 * half + hair),
        (0.95, -0.004, 0.70 * long + hair, 0.82 * long + hair, 0.90 * half + hair),
        (1.0 + hair / size, -0.010, 0.30 * long, 0.40 * long, 0.45 * half),
    ]


def _long_hair(body: Body, size: float) -> list[tuple[float, float, float, float, float]]:
    long, half, hair = 0.5 * body.head_length, 0.5 * body.head_breadth, body.hair
    end = min(1.0 - body.hair_length / size, 0.3)
    return [
        (0.70, -0.30 * long, 0.3 * long, 0.75 * long + hair, half + hair),
        (0.35, -0.42 * long, 0.3 * long, 0.75 * long + hair, 1.05 * half),
        (end, -0.50 * long, 0.3 * long, 0.65 * long, 0.95 * half),
    ]


def _ponytail(body: Body) -> list[tuple[float, float, float, float, float]]:
    long = 0.5 * body.head_length
    return [
        (0.72, -1.05 * long, 0.022, 0.022, 0.022),
        (0.55, -1.35 * long, 0.032, 0.032, 0.032),
        (0.05, -1.30 * long, 0.014, 0.014, 0.014),
    ]
