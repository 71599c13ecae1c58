"""Builds the surface of the walker, limbs and trunk, from pose, body and clothes."""

import numpy as np
from numpy.typing import NDArray

from model.walkers.body import Body
from model.walkers.covers import add_bag, collar, skirt
from model.walkers.head import add_head
from model.walkers.outfits import Outfit
from model.walkers.pose import Pose, sole_points
from model.walkers.rings import Surface, SurfaceBuilder, between, level_ahead, stack, tube, unit

Floats = NDArray[np.float64]


def build_surface(body: Body, outfit: Outfit, pose: Pose) -> Surface:
    """Return the dressed body's surface in every frame."""
    builder = SurfaceBuilder()
    for side in (0, 1):
        builder.add(_leg(body, outfit, pose, side))
        builder.add(_foot(body, outfit, pose, side))
        builder.add(_arm(body, outfit, pose, side))
        builder.add(_hand(body, pose, side))
    builder.add(_trunk(body, outfit, pose))
    builder.add(skirt(body, outfit, pose))
    add_head(builder, body, pose)
    if outfit.coat is not None:
        builder.add(collar(body, outfit.coat, pose))
    if outfit.bag is not None:
        add_bag(builder, body, outfit, outfit.bag, pose)
    return builder.done()


def _leg(body: Body, outfit: Outfit, pose: Pose, side: int) -> Floats:
    hip, knee, ankle = pose.hips[side], pose.knees[side], pose.ankles[side]
    upper, lower = (0.02, 0.3, 0.65, 1.0), (0.3, 0.65, 0.96)
    joints = np.concatenate([between(hip, knee, upper), between(knee, ankle, lower)], axis=1)
    thigh, knee_radius, calf = body.thigh_radius, body.knee_radius, body.calf_radius
    skin = np.array(
        [
            *(0.97 * thigh, 0.98 * thigh, 0.5 * (thigh + knee_radius), knee_radius),
            *(calf, 0.5 * (calf + body.ankle_radius), 1.05 * body.ankle_radius),
        ]
    )
    loose = np.array([0.3, 0.6, 1.0, 1.0, 0.8, 1.0, 1.2]) * outfit.trousers
    loose += np.array([0, 0, 0, 0.1, 0.3, 0.7, 1.0]) * outfit.flare
    rings = tube(joints, pose.trunk.pelvis_side, skin + loose, flat=0.95)
    # The calf bulges backward.
    rings[:, 4] -= np.array([0.15 * calf, 0, 0])
    return rings


def _foot(body: Body, outfit: Outfit, pose: Pose, side: int) -> Floats:
    """Return rings that stand across the shoe at heel, instep, ball and toe tip."""
    feet = pose.feet
    forward, up, toes = feet.forward[side], feet.up[side], feet.toes[side]
    soles = (points[side] for points in sole_points(body, outfit, pose.ankles, feet))
    heel, ball, tip = soles
    across = np.cross(up, forward)
    ups = np.stack([up, up, up, unit(np.cross(toes, across))], axis=1)
    across = np.repeat(across[:, None], 4, axis=1)
    halves = np.array([0.42, 0.60, 0.34, 0.22]) * (body.ankle_height + outfit.sole)
    sole = np.stack([heel, heel + 0.30 * body.foot * forward, ball, tip], axis=1)
    breadths = np.array([0.024, 0.028, 0.034, 0.023]) * body.stature
    return stack(
        sole + halves[:, None] * ups, ups, across, front=halves, back=halves, half=breadths
    )


def _arm(body: Body, outfit: Outfit, pose: Pose, side: int) -> Floats:
    shoulder, elbow, wrist = pose.shoulders[side], pose.elbows[side], pose.wrists[side]
    upper, lower = (-0.09, 0.08, 0.45, 1.0), (0.25, 1.0)
    joints = np.concatenate([between(shoulder, elbow, upper), between(elbow, wrist, lower)], axis=1)
    deltoid = 0.5 * (body.deltoid_breadth - body.shoulder_breadth) + 0.008 * body.stature
    skin = np.array(
        [
            *(0.55 * deltoid, deltoid, body.biceps_radius, 0.95 * body.forearm_radius),
            *(body.forearm_radius, 1.05 * body.wrist_radius),
        ]
    )
    loose = np.array([0.4, 0.6, 1.0, 1.0, 1.0, 0.8]) * outfit.sleeve
    return tube(joints, pose.trunk.chest_side, skin + loose)


def _hand(body: Body, pose: Pose, side: int) -> Floats:
    joints = between(pose.wrists[side], pose.hand_tips[side], (0.05, 0.45, 0.80))
    radii = np.array([0.015, 0.022, 0.014]) * body.stature
    return tube(joints, pose.trunk.chest_side, radii, flat=0.55)


def _trunk(body: Body, outfit: Outfit, pose: Pose) -> Floats:
    """Return rings from the crotch to the base of the neck."""
    trunk = pose.trunk
    heights = _trunk_heights(body)
    front, back, half = _trunk_sizes(body)
    share = np.array([0.0, 0.7, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.5, 0.2])
    loose = share * outfit.top
    loose[:3] += np.array([1.0, 0.6, 0.3]) * outfit.trousers
    if outfit.coat is not None:
        front, back, half = (_straightened(sizes) for sizes in (front, back, half))
    blend = np.clip(heights / trunk.neck_height, 0, 1)[:, None]
    side = unit(trunk.pelvis_side[:, None] * (1 - blend) + trunk.chest_side[:, None] * blend)
    return stack(
        trunk.spine(heights),
        level_ahead(side),
        side,
        front=front + loose,
        back=back + loose,
        half=half + loose,
    )


def _trunk_heights(body: Body) -> Floats:
    """Return the heights of the trunk's ten rings above the hip joints."""
    hip, waist, chest = body.hip_height, body.waist_height, body.chest_height
    acromion, slope = body.acromion_height, body.shoulder_slope
    floor = [
        *(body.crotch_height, hip + 0.01 * body.stature, 0.5 * (hip + waist)),
        *(waist + 0.01 * body.stature, 0.5 * (waist + chest), chest, 0.5 * (chest + acromion)),
        *(acromion - 0.010 * body.stature - slope, acromion + 0.016 * body.stature - 0.5 * slope),
        body.neck_height + 0.006 * body.stature,
    ]
    return np.array(floor) - hip


def _trunk_sizes(body: Body) -> tuple[Floats, Floats, Floats]:
    """Return front and back half-depths and half-breadths of the trunk's ten rings."""
    hip, waist, chest = body.hip_depth, body.waist_depth, body.chest_depth
    depth = np.array([hip, hip, hip, waist, 0.5 * (waist + chest), chest, chest, chest])
    front = np.array([0.40, 0.47, 0.50, 0.52, 0.50, 0.50, 0.45, 0.30]) * depth
    back = np.array([0.44, 0.53, 0.50, 0.46, 0.46, 0.50, 0.50, 0.40]) * depth
    # The trapezius slopes from the shoulders to the neck.
    top = np.array([0.040 * body.stature, 1.2 * body.neck_radius])
    front, back = np.append(front, top), np.append(back, top)
    front += np.array([0, 0, 0.4, 0.9, 0.3, 0, 0, 0, 0, 0]) * body.belly
    front += np.array([0, 0, 0, 0, 0.3, 1.0, 0.4, 0, 0, 0]) * body.bust
    back += np.array([0.5, 1.0, 0.4, 0, 0, 0, 0, 0, 0, 0]) * body.buttock
    half = [
        *(0.36 * body.hip_breadth, 0.50 * body.hip_breadth, 0.49 * body.hip_breadth),
        *(0.48 * body.waist_breadth, 0.49 * body.chest_breadth, 0.54 * body.chest_breadth),
        *(0.55 * body.chest_breadth, 0.46 * body.shoulder_breadth, 0.24 * body.shoulder_breadth),
        1.2 * body.neck_radius,
    ]
    return front, back, np.array(half)


def _straightened(sizes: Floats) -> Floats:
    """Make a coat hang straight from the chest to the hips instead of following the waist."""
    hip, chest = 1, 5
    straight = sizes.copy()
    line = np.linspace(sizes[hip], sizes[chest], chest - hip + 1)
    straight[hip : chest + 1] = np.maximum(sizes[hip : chest + 1], line)
    return straight
