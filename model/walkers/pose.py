"""Computes the position of every joint of the body from the joint angles, for all frames at once.

Coordinates are in metres: x ahead of the walker, y to the left, z up from the floor. Arrays for
both sides are `[2, T, 3]`, left first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.walkers.body import Body
from model.walkers.kinematics import Session
from model.walkers.outfits import BagKind, Outfit

Floats = NDArray[np.float64]

_SIDES = np.array([1.0, -1.0])[:, None]
# Toes stay on the floor for most of the push-off.
_TOE_SHARE = 0.3
# How far the shoulder joint lies below the acromion, as a share of stature; otherwise the shoulders
# would look like epaulettes.
_SHOULDER_DROP = 0.026
# Smoothing over three frames keeps the pelvis from jerking when the lowest point switches feet.
_SMOOTHING = (0.25, 0.5, 0.25)


@dataclass(frozen=True)
class Trunk:
    """Pelvis and spine: points and unit vectors `[T, 3]`."""

    pelvis: Floats
    pelvis_side: Floats
    chest_side: Floats
    lean: Floats
    """Radians `[T]`, forward positive."""
    stoop: float
    """How much more the neck leans than the pelvis, in radians."""
    neck_height: float
    """Height of the base of the neck above the hip joints, along the spine."""

    def spine(self, heights: Floats) -> Floats:
        """Return points `[T, R, 3]` on the trunk's axis, at `heights [R]` above the hip joints."""
        bend = np.clip(heights / self.neck_height, 0, 1.2) ** 1.5 * self.stoop
        angle = self.lean[:, None] + bend
        step = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], axis=-1)
        points: Floats = self.pelvis[:, None] + step * heights[:, None]
        return points


@dataclass(frozen=True)
class Feet:
    """Unit vectors `[2, T, 3]`: along the foot, up from its sole, and along its toes."""

    forward: Floats
    up: Floats
    toes: Floats


@dataclass(frozen=True)
class Pose:
    """The pose of the whole body: joints `[2, T, 3]`."""

    trunk: Trunk
    feet: Feet
    hips: Floats
    knees: Floats
    ankles: Floats
    shoulders: Floats
    elbows: Floats
    wrists: Floats
    hand_tips: Floats
    head_pitch: Floats
    """Radians `[T]`, forward positive."""


def pose_walk(
    body: Body, outfit: Outfit, session: Session, times: Floats, angles: dict[str, Floats]
) -> Pose:
    """Place the joints at all `times [T]`, with the lower foot on the floor z = 0."""
    degrees = _restrained(angles, outfit)
    radians = {name: np.radians(values) for name, values in degrees.items()}
    pelvis_side = _leftward(radians["pelvis_rotation"][0], radians["pelvis_obliquity"][0])
    feet = _feet(body, radians)
    # The legs first hang from a pelvis at height 0; the lowest sole then gives its true height.
    pelvis = _path(session, times, sway_cm=degrees["sway"])
    hips, knees, ankles = _legs(body, pelvis, pelvis_side, radians, lateral=session.lateral)
    rise = np.zeros_like(pelvis)
    rise[:, 2] = -_floor(body, outfit, ankles, feet)
    trunk = Trunk(
        pelvis=pelvis + rise,
        pelvis_side=pelvis_side,
        chest_side=_leftward(radians["girdle"][0], -0.3 * radians["pelvis_obliquity"][0]),
        lean=radians["lean"][0],
        stoop=float(np.radians(body.stoop)),
        neck_height=body.neck_height - body.hip_height,
    )
    shoulders, elbows, wrists, tips = _arms(body, trunk, radians)
    return Pose(
        trunk=trunk,
        feet=feet,
        hips=hips + rise,
        knees=knees + rise,
        ankles=ankles + rise,
        shoulders=shoulders,
        elbows=elbows,
        wrists=wrists,
        hand_tips=tips,
        head_pitch=radians["nod"][0] + np.radians(body.head_lean),
    )


def sole_points(
    body: Body, outfit: Outfit, ankles: Floats, feet: Feet
) -> tuple[Floats, Floats, Floats]:
    """Return heel, ball and toe tip of the shoes' soles, each `[2, T, 3]`."""
    below = ankles - (body.ankle_height + outfit.sole) * feet.up
    ball = below + 0.45 * body.foot * feet.forward
    return below - 0.27 * body.foot * feet.forward, ball, ball + 0.33 * body.foot * feet.toes


def _restrained(angles: dict[str, Floats], outfit: Outfit) -> dict[str, Floats]:
    """Apply the effect of bags and coats on arms and trunk; angles in degrees."""
    angles = dict(angles)
    bag, coat = outfit.bag, outfit.coat
    if bag is not None and bag.kind is BagKind.BACKPACK:
        angles["lean"] = angles["lean"] + 3.0
    elif bag is not None:
        for name, rest in (("upper_arm", -4.0), ("elbow", 14.0)):
            loaded = angles[name].copy()
            loaded[bag.side] = rest + 0.5 * (loaded[bag.side] - rest)
            angles[name] = loaded
    if coat is not None:
        for name in ("upper_arm", "elbow"):
            mean = angles[name].mean(axis=1, keepdims=True)
            angles[name] = mean + coat.arm_swing * (angles[name] - mean)
        angles["abduction"] = angles["abduction"] + coat.arm_abduction
        if coat.pockets:
            angles["upper_arm"] = 0.3 * angles["upper_arm"] - 14.0
            angles["elbow"] = 0.3 * angles["elbow"] + 42.0
    return angles


def _path(session: Session, times: Floats, sway_cm: Floats) -> Floats:
    """Return the pelvis `[T, 3]` along the path, at height 0."""
    pelvis = np.zeros((len(times), 3))
    pelvis[:, 0] = session.speed * times
    pelvis[:, 1] = session.lateral + 0.005 * (sway_cm[0] - sway_cm[1])
    return pelvis


def _leftward(yaw: Floats, roll: Floats) -> Floats:
    """Return unit vectors to the left `[T, 3]`: `yaw` turns the left forward, `roll` lifts it."""
    return np.stack([np.sin(yaw) * np.cos(roll), np.cos(yaw) * np.cos(roll), np.sin(roll)], axis=-1)


def _limb(sagittal: Floats, outward: Floats) -> Floats:
    """Return unit vectors `[2, T, 3]` of limbs, which hang straight down if both angles are 0."""
    return np.stack(
        [
            np.sin(sagittal) * np.cos(outward),
            _SIDES * np.sin(outward),
            -np.cos(sagittal) * np.cos(outward),
        ],
        axis=-1,
    )


def _legs(
    body: Body, pelvis: Floats, side: Floats, radians: dict[str, Floats], *, lateral: float
) -> tuple[Floats, Floats, Floats]:
    """Return hips, knees and ankles."""
    hips = pelvis + _SIDES[..., None] * body.hip_half * side
    # Feet keep to two lines on the floor, whatever the pelvis does above.
    reach = 0.5 * body.step_width - _SIDES * (hips[..., 1] - lateral)
    outward = np.arcsin(np.clip(reach / (body.thigh + body.shank), -0.3, 0.3))
    outward = outward + 0.4 * radians["adduction"]
    share = 1 + _SIDES[..., None] * body.leg_asymmetry
    bend = np.maximum(radians["knee"], np.radians(2.0))
    knees = hips + share * body.thigh * _limb(radians["thigh"], outward)
    return hips, knees, knees + share * body.shank * _limb(radians["thigh"] - bend, outward)


def _feet(body: Body, radians: dict[str, Floats]) -> Feet:
    pitch = radians["foot"]
    out = np.radians(body.toe_out)

    def ahead(angle: Floats) -> Floats:
        level = np.cos(angle)
        return np.stack([level * np.cos(out), _SIDES * level * np.sin(out), np.sin(angle)], axis=-1)

    toe_pitch = np.maximum(pitch, _TOE_SHARE * pitch)
    return Feet(forward=ahead(pitch), up=ahead(pitch + np.pi / 2), toes=ahead(toe_pitch))


def _floor(body: Body, outfit: Outfit, ankles: Floats, feet: Feet) -> Floats:
    """Return the height `[T]` of the soles' lowest point, lightly smoothed over time."""
    lowest = np.stack(sole_points(body, outfit, ankles, feet))[..., 2].min(axis=(0, 1))
    return np.convolve(np.pad(lowest, 1, mode="edge"), _SMOOTHING, mode="valid")


def _arms(
    body: Body, trunk: Trunk, radians: dict[str, Floats]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return shoulders, elbows, wrists and finger tips."""
    height = body.acromion_height - body.hip_height
    height -= _SHOULDER_DROP * body.stature + body.shoulder_slope
    half = 0.5 * body.shoulder_breadth - 0.006 * body.stature
    shoulders = trunk.spine(np.array([height]))[:, 0] + _SIDES[..., None] * half * trunk.chest_side
    lift = np.maximum(radians["abduction"], np.radians(1.0))
    bend = np.maximum(radians["elbow"], np.radians(4.0))
    upper = radians["upper_arm"] + 0.5 * trunk.stoop
    elbows = shoulders + body.upper_arm * _limb(upper, lift)
    # A bent forearm points slightly inward, in front of the trunk.
    inward = lift - 0.25 * bend - np.radians(2.0)
    wrists = elbows + body.forearm * _limb(upper + bend, inward)
    tips = wrists + body.hand * _limb(upper + bend + np.radians(8.0), inward)
    return shoulders, elbows, wrists, tips
