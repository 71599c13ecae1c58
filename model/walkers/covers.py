"""What hangs on the body: lower ends of tops and coats, collars, hoods and bags."""

import numpy as np
from numpy.typing import NDArray

from model.walkers.body import Body
from model.walkers.outfits import Bag, BagKind, Coat, Outfit
from model.walkers.pose import Pose
from model.walkers.rings import SurfaceBuilder, between, level_ahead, stack, tube

Floats = NDArray[np.float64]


def skirt(body: Body, outfit: Outfit, pose: Pose) -> Floats:
    """Return the lower end of the top or coat `[T, 3, n, 3]`, whose depth follows both thighs."""
    shares = np.array([-0.15 * body.hip_breadth, 0.5 * outfit.hem, outfit.hem]) / body.thigh
    bones = pose.knees - pose.hips
    points = pose.hips[:, :, None] + shares[:, None] * bones[:, :, None]  # [2, T, R, 3]
    apart = np.abs(points[0] - points[1])
    loose = outfit.top + np.array([0.3, 0.5, 0.5]) * outfit.trousers
    loose += np.array([0, 0.5, 1.0]) * outfit.skirt_flare
    depth = np.array([0.48 * body.hip_depth, 0.52 * body.hip_depth, body.thigh_radius])
    depth = 0.5 * apart[..., 0] + depth + loose
    half = 0.5 * apart[..., 1] + np.array([0.25, 0.26, 0.25]) * body.hip_breadth + loose
    side = pose.trunk.pelvis_side
    return stack(points.mean(axis=0), level_ahead(side), side, front=depth, back=depth, half=half)


def collar(body: Body, coat: Coat, pose: Pose) -> Floats:
    """Return a coat's collar around the neck, with the hood at the back."""
    trunk = pose.trunk
    heights = trunk.neck_height + np.array([-0.05, 0.4 * coat.collar, coat.collar])
    radius = body.neck_radius + np.array([0.035, 0.028, 0.018])
    back = radius + (np.array([0.045, 0.060, 0.020]) if coat.hood else 0.0)
    side = trunk.chest_side
    return stack(
        trunk.spine(heights), level_ahead(side), side, front=radius, back=back, half=radius
    )


def add_bag(builder: SurfaceBuilder, body: Body, outfit: Outfit, bag: Bag, pose: Pose) -> None:
    """Add the bag, and its strap if it has one."""
    if bag.kind is BagKind.BACKPACK:
        builder.add(_backpack(body, outfit, bag, pose))
    elif bag.kind is BagKind.HAND:
        below_fist = pose.hand_tips[bag.side] - np.array([0.0, 0.0, 0.03])
        builder.add(_hanging(below_fist, bag, pose))
    else:
        sign = 1.0 if bag.side == 0 else -1.0
        out = sign * (0.5 * body.hip_breadth + outfit.top + 0.4 * bag.depth)
        top = pose.trunk.pelvis + out * pose.trunk.pelvis_side + np.array([0.0, 0.0, 0.10])
        builder.add(_hanging(top, bag, pose))
        shoulder = pose.shoulders[bag.side] + np.array([0.0, 0.0, 0.05])
        strap = between(shoulder, top, (0.0, 1.0))
        builder.add(tube(strap, pose.trunk.chest_side, np.array([0.02, 0.02])))


def _backpack(body: Body, outfit: Outfit, bag: Bag, pose: Pose) -> Floats:
    trunk = pose.trunk
    top = body.acromion_height - 0.02 - body.hip_height
    centres = trunk.spine(top - np.array([0.0, 0.3, 1.0]) * bag.height)
    ahead = level_ahead(trunk.chest_side)
    out = 0.48 * body.chest_depth + outfit.top + 0.45 * bag.depth
    depth = np.array([0.35, 0.50, 0.55]) * bag.depth
    half = np.array([0.42, 0.50, 0.50]) * bag.width
    return stack(
        centres - out * ahead[:, None], ahead, trunk.chest_side, front=depth, back=depth, half=half
    )


def _hanging(top: Floats, bag: Bag, pose: Pose) -> Floats:
    """Return a bag that hangs down from `top [T, 3]`, its width along the walking direction."""
    down = np.zeros((3, 3))
    down[:, 2] = np.array([0.0, -0.35, -1.0]) * bag.height
    side = pose.trunk.pelvis_side
    width = np.array([0.40, 0.50, 0.52]) * bag.width
    half = np.array([0.30, 0.50, 0.50]) * bag.depth
    return stack(top[:, None] + down, level_ahead(side), side, front=width, back=width, half=half)
