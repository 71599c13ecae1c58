"""How a subject moves: joint angles as Fourier series over the stride.

The mean curves were fitted to 69 straight walks of 14 people in the CMU motion capture set; pelvic
obliquity follows the clinical literature, as the set is known to be biased there. A subject
deviates from the mean by an offset, a gain and random harmonics for every angle, partly different
on the left and the right. A session deviates from its subject in the same way, only less.

An angle is `Re Σ c_k exp(2πi k t)`, where t goes from 0 to 1 over a stride of the leg on that side,
and t = 0 when that foot is furthest ahead. The right side is half a stride behind the left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HARMONICS = 3
_Wave = tuple[float, float]
# angle: mean, (amplitude, phase in degrees) of harmonics 1.., SDs of offset, gain and harmonic, and
# how much the gain grows per m/s above the mean speed. Degrees, but sway in centimetres.
_CURVES: dict[str, tuple[float, tuple[_Wave, ...], tuple[float, float, float], float]] = {
    "thigh": (11.5, ((21.8, -7), (5.5, 126), (2.2, -100)), (2.5, 0.10, 1.2), 0.43),
    "knee": (24.0, ((16.3, 67), (17.7, 168), (6.0, -107)), (3.0, 0.08, 1.6), 0.15),
    "foot": (-9.9, ((29.8, -56), (20.6, 24), (5.0, 95)), (2.5, 0.10, 1.4), 0.1),
    "adduction": (0.0, (), (1.5, 0.0, 0.6), 0.0),
    "upper_arm": (-6.8, ((10.9, 171), (0.6, 55), (0.6, 175)), (6.0, 0.40, 1.5), 1.0),
    "elbow": (29.3, ((11.5, 157), (2.3, 7), (0.6, 30)), (8.0, 0.45, 2.0), 1.0),
    "abduction": (6.5, ((2.5, 163), (0.5, 28)), (3.0, 0.40, 0.6), 0.0),
    "pelvis_rotation": (0.0, ((4.3, -32), (0.0, 0), (0.3, 23)), (1.5, 0.30, 0.8), 0.8),
    "pelvis_obliquity": (0.0, ((4.0, -90), (0.0, 0), (1.2, -156)), (1.0, 0.25, 0.6), 0.5),
    "lean": (2.9, ((0.3, 0), (0.8, 30)), (3.5, 0.40, 0.3), 0.0),
    "girdle": (0.0, ((2.9, 171), (0.0, 0), (0.7, 26)), (1.5, 0.50, 0.8), 0.5),
    "sway": (0.0, ((2.1, -123),), (0.0, 0.30, 0.4), 0.0),
    "nod": (0.0, ((0.0, 0), (0.8, 60)), (3.0, 0.40, 0.4), 0.0),
}
ANGLES = tuple(_CURVES)
MEAN_SPEED = 1.22
"""The speed that the mean curves belong to, in m/s."""
# Beyond these, a walk turns into a march or a shuffle.
_GAIN_LIMITS = (0.15, 1.6)
# Slow drift within a walk, as a share of the subjects' offset SD.
_WANDER = 0.2


@dataclass(frozen=True)
class Departure:
    """Deviation from the mean curves: arrays over (side, angle[, harmonic])."""

    offset: Floats
    gain: Floats
    harmonics: NDArray[np.complex128]

    def __add__(self, other: "Departure") -> "Departure":
        return Departure(
            self.offset + other.offset, self.gain + other.gain, self.harmonics + other.harmonics
        )


@dataclass(frozen=True)
class Style:
    """A subject's gait style."""

    departure: Departure
    speed: float
    """In m/s."""
    stride: float
    """Length of a stride at the mean speed, as a share of stature."""


@dataclass(frozen=True)
class Session:
    """One walk: everything that is the same for all cameras."""

    departure: Departure
    speed: float
    stride: float
    phase: float
    lateral: float
    """Distance from the path to the left, in metres."""


def draw_style(rng: np.random.Generator) -> Style:
    """Draw a subject's gait style."""
    return Style(
        departure=_draw_departure(rng, 1.0, asymmetry=rng.uniform(0.25, 0.5)),
        speed=float(np.clip(rng.normal(MEAN_SPEED, 0.12), 0.85, 1.65)),
        stride=rng.normal(0.80, 0.035),
    )


def draw_session(
    rng: np.random.Generator, style: Style, *, scale: float, pace_variety: float = 0.0
) -> Session:
    """Draw one walk of a subject; at `scale` 1, sessions differ as much as subjects do."""
    hurry = np.exp(pace_variety * rng.normal(0.0, 0.12))
    return Session(
        departure=style.departure + _draw_departure(rng, scale, asymmetry=0.5),
        speed=style.speed * hurry * (1 + 0.05 * rng.normal()),
        stride=style.stride * (1 + 0.03 * rng.normal()),
        phase=rng.random(),
        lateral=rng.normal(0.0, 0.12),
    )


def _draw_departure(rng: np.random.Generator, scale: float, asymmetry: float) -> Departure:
    spreads = np.array([curve[2] for curve in _CURVES.values()])
    shape = (2, len(ANGLES))

    def sided(*tail: int) -> Floats:
        common = rng.standard_normal((1, len(ANGLES), *tail))
        return scale * (common + asymmetry * rng.standard_normal((*shape, *tail)))

    offset = sided() * spreads[:, 0]
    gain = sided() * spreads[:, 1]
    fade = spreads[:, 2:] / np.arange(1, _HARMONICS + 1) / np.sqrt(2)
    harmonics = (sided(_HARMONICS) + 1j * sided(_HARMONICS)) * fade
    return Departure(offset, gain, harmonics)


def joint_angles(
    session: Session, times: Floats, stride_time: float, rng: np.random.Generator
) -> dict[str, Floats]:
    """Return every angle as `[2, T]`, left and right, at `times [T]`; all times in seconds."""
    cycles = session.phase + times / stride_time
    # The pace itself drifts a little within the walk (stride time varies by 1.5 %).
    cycles = cycles + 0.006 * np.sin(2 * np.pi * (0.31 * cycles + rng.random()))
    speed_change = session.speed - MEAN_SPEED
    angles: dict[str, Floats] = {}
    for a, (name, (mean, waves, spread, slope)) in enumerate(_CURVES.items()):
        base = np.zeros(_HARMONICS, np.complex128)
        for k, (amplitude, phase) in enumerate(waves):
            base[k] = amplitude * np.exp(1j * np.radians(phase))
        sides = []
        for side in (0, 1):
            gain = 1 + session.departure.gain[side, a] + slope * speed_change
            gain = min(max(gain, _GAIN_LIMITS[0]), _GAIN_LIMITS[1])
            waves_of_side = gain * base + session.departure.harmonics[side, a]
            turn = np.exp(2j * np.pi * (cycles + 0.5 * side))
            powers = np.stack([turn, turn**2, turn**3])
            wander = _WANDER * spread[0] * rng.normal() * np.sin(2 * np.pi * (cycles * 0.23) + side)
            offset = mean + session.departure.offset[side, a]
            sides.append(offset + (waves_of_side[:, None] * powers).real.sum(0) + wander)
        angles[name] = np.stack(sides)
    return angles
