"""Stacks of elliptical rings, the only solid that walkers are made of.

The space between two neighbouring rings of a stack is their convex hull. An outline therefore needs
no mesh: it is the union of the hulls' projections. All frames of a walk are built at once.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RING_POINTS = 12
UP = np.array([0.0, 0.0, 1.0])
_TURN = np.linspace(0, 2 * np.pi, RING_POINTS, endpoint=False)
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)


@dataclass(frozen=True)
class Surface:
    """Rings float64 `[T, R, RING_POINTS, 3]`, and pairs `[M, 2]` of rings that a hull connects."""

    rings: Floats
    pairs: NDArray[np.intp]


@dataclass
class SurfaceBuilder:
    """Collects stacks of rings into one surface."""

    rings: list[Floats] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0

    def add(self, rings: Floats) -> None:
        """Add a stack `[T, R, RING_POINTS, 3]` of two or more rings."""
        size = rings.shape[1]
        self.rings.append(rings)
        self.pairs += [(self.count + r, self.count + r + 1) for r in range(size - 1)]
        self.count += size

    def done(self) -> Surface:
        """Return everything added as one surface."""
        return Surface(np.concatenate(self.rings, axis=1), np.array(self.pairs, np.intp))


def stack(
    centres: Floats, ahead: Floats, side: Floats, *, front: Floats, back: Floats, half: Floats
) -> Floats:
    """Return rings `[T, R, RING_POINTS, 3]` around centres `[T, R, 3]`.

    `ahead` and `side` are unit vectors `[T, R, 3]`, or `[T, 3]` for a whole stack; `front` and
    `back` are half-depths along `ahead`, `half` half-breadths along `side`, `[R]` or `[T, R]`.
    """
    if ahead.ndim == 2:
        ahead, side = ahead[:, None], side[:, None]
    depth = np.where(_COS > 0, front[..., None], back[..., None])
    along: Floats = (depth * _COS)[..., None] * ahead[:, :, None]
    across: Floats = (half[..., None] * _SIN)[..., None] * side[:, :, None]
    return centres[:, :, None] + along + across


def tube(joints: Floats, side: Floats, radii: Floats, *, flat: float = 1.0) -> Floats:
    """Return rings across a limb through `joints [T, R, 3]`, with its breadth along `side [T, 3]`.

    `radii [R]` are half-depths; multiplied by `flat` they are half-breadths.
    """
    bones = unit(np.diff(joints, axis=1))
    middle = bones[:, :-1] + bones[:, 1:]
    along = unit(np.concatenate([bones[:, :1], middle, bones[:, -1:]], axis=1))
    ahead = unit(np.cross(along, np.broadcast_to(side[:, None], along.shape)))
    return stack(joints, ahead, np.cross(ahead, along), front=radii, back=radii, half=flat * radii)


def between(start: Floats, end: Floats, shares: tuple[float, ...]) -> Floats:
    """Return points `[T, R, 3]` at R shares of the way from `start [T, 3]` to `end [T, 3]`."""
    weights = np.array(shares)[:, None]
    points: Floats = start[:, None] * (1 - weights) + end[:, None] * weights
    return points


def unit(vectors: Floats) -> Floats:
    """Scale vectors `[..., 3]` to length 1."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Floats = vectors / np.maximum(lengths, 1e-9)
    return result


def level_ahead(side: Floats) -> Floats:
    """Return horizontal unit vectors ahead, perpendicular to `side [..., 3]`, which points left."""
    return unit(np.cross(side, np.broadcast_to(UP, side.shape)))
