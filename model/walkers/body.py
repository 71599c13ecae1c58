"""The body of a subject, which stays the same in all sessions.

Ratios to stature and their spreads are those of ANSUR II (4,082 men, 1,986 women; public US Army
survey). Lengths follow stature; breadths and girths follow stature and the body mass index. The
index is drawn lower than the soldiers' own, as students' is.
"""

from dataclasses import dataclass

import numpy as np

# name: ratio and SD of men, ratio and SD of women
_LENGTHS = {
    "acromion_height": (0.820, 0.0096, 0.820, 0.0087),
    "neck_height": (0.864, 0.0066, 0.857, 0.0068),
    "chest_height": (0.735, 0.0105, 0.719, 0.0140),
    "waist_height": (0.601, 0.0130, 0.602, 0.0135),
    "hip_height": (0.513, 0.0150, 0.519, 0.0144),
    "crotch_height": (0.4815, 0.0140, 0.480, 0.0150),
    "knee_height": (0.280, 0.0080, 0.286, 0.0100),
    "ankle_height": (0.0415, 0.0030, 0.0385, 0.0030),
    "upper_arm": (0.186, 0.0060, 0.184, 0.0060),
    "forearm": (0.1495, 0.0060, 0.146, 0.0060),
    "hand": (0.110, 0.0040, 0.111, 0.0040),
    "foot": (0.154, 0.0050, 0.151, 0.0050),
}
_BREADTHS = {
    "shoulder_breadth": (0.237, 0.010, 0.224, 0.010),
    "deltoid_breadth": (0.291, 0.018, 0.277, 0.017),
    "chest_breadth": (0.165, 0.010, 0.166, 0.011),
    "chest_depth": (0.145, 0.015, 0.152, 0.0165),
    "waist_breadth": (0.186, 0.019, 0.184, 0.0195),
    "waist_depth": (0.1355, 0.020, 0.131, 0.019),
    "hip_breadth": (0.197, 0.013, 0.217, 0.015),
    "hip_depth": (0.140, 0.015, 0.143, 0.015),
}
_GIRTHS = {
    "thigh": (0.356, 0.033, 0.3785, 0.033),
    "knee": (0.233, 0.018, 0.246, 0.021),
    "calf": (0.2235, 0.017, 0.229, 0.017),
    "ankle": (0.131, 0.008, 0.133, 0.009),
    "neck": (0.227, 0.0156, 0.203, 0.012),
    "biceps": (0.204, 0.020, 0.188, 0.0185),
    "forearm": (0.177, 0.012, 0.162, 0.011),
    "wrist": (0.100, 0.005, 0.095, 0.004),
}
# Stature (m) and body mass index of the subjects, and the survey's own index behind the ratios.
_STATURE = ((1.74, 0.062), (1.615, 0.058))
_BMI = ((22.5, 2.7), (21.0, 2.3))
_SURVEY_BMI = ((27.7, 4.0), (25.5, 3.5))
# How much a breadth follows the body mass index; the rest is its own variation.
_BMI_SHARE = 0.8
# Bodies vary somewhat more than in the survey, to stand for what a survey does not measure.
_RESIDUAL_SCALE = 1.5


@dataclass(frozen=True)
class Body:
    """A subject's shape: sizes in metres, `*_radius` from girths, angles in degrees."""

    female: bool
    stature: float
    acromion_height: float
    neck_height: float
    chest_height: float
    waist_height: float
    hip_height: float
    crotch_height: float
    knee_height: float
    ankle_height: float
    upper_arm: float
    forearm: float
    hand: float
    foot: float
    shoulder_breadth: float
    deltoid_breadth: float
    chest_breadth: float
    chest_depth: float
    waist_breadth: float
    waist_depth: float
    hip_breadth: float
    hip_depth: float
    thigh_radius: float
    knee_radius: float
    calf_radius: float
    ankle_radius: float
    neck_radius: float
    biceps_radius: float
    forearm_radius: float
    wrist_radius: float
    head_breadth: float
    head_length: float
    hair: float
    """Thickness of the hair around the skull."""
    hair_length: float
    """How far the hair falls below the crown; 0 for short hair."""
    ponytail: bool
    bust: float
    belly: float
    buttock: float
    shoulder_slope: float
    stoop: float
    head_lean: float
    toe_out: float
    step_width: float
    leg_asymmetry: float
    """The left leg is longer and the right one shorter by this share."""

    @property
    def hip_half(self) -> float:
        """Half the distance between the hip joints."""
        return 0.25 * self.hip_breadth + 0.003 * self.stature

    @property
    def thigh(self) -> float:
        """Length from hip joint to knee joint."""
        return self.hip_height - self.knee_height

    @property
    def shank(self) -> float:
        """Length from knee joint to ankle joint."""
        return self.knee_height - self.ankle_height


def draw_body(rng: np.random.Generator) -> Body:
    """Draw one subject's body."""
    sex = int(rng.random() < 0.45)
    stature = rng.normal(*_STATURE[sex])
    mass = (rng.normal(*_BMI[sex]) - _SURVEY_BMI[sex][0]) / _SURVEY_BMI[sex][1]
    sizes: dict[str, float] = {}
    for name, ratios in _LENGTHS.items():
        mean, sd = ratios[2 * sex : 2 * sex + 2]
        sizes[name] = stature * (mean + sd * _RESIDUAL_SCALE * _clipped(rng))
    for name, ratios in (_BREADTHS | {f"{k}_girth": v for k, v in _GIRTHS.items()}).items():
        mean, sd = ratios[2 * sex : 2 * sex + 2]
        own = np.sqrt(1 - _BMI_SHARE**2) * _RESIDUAL_SCALE * _clipped(rng)
        size = stature * (mean + sd * (_BMI_SHARE * mass + own))
        if name.endswith("_girth"):
            sizes[name.replace("_girth", "_radius")] = size / (2 * np.pi)
        else:
            sizes[name] = size
    # 55 % of the women have long hair, 27 % a ponytail.
    hair = rng.random() if sex else 1.0
    return Body(
        female=bool(sex),
        ponytail=0.55 <= hair < 0.82,
        hair_length=rng.uniform(0.20, 0.42) if hair < 0.55 else 0.0,
        hair=max(0.002, rng.normal(0.012, 0.008)) + (0.006 if hair < 0.55 else 0.0),
        stature=stature,
        head_breadth=rng.normal(*((0.154, 0.0055), (0.148, 0.005))[sex]),
        head_length=rng.normal(*((0.1995, 0.007), (0.190, 0.007))[sex]),
        **sizes,
        **_draw_posture(rng, sex),
    )


def _draw_posture(rng: np.random.Generator, sex: int) -> dict[str, float]:
    return {
        "bust": max(0.0, rng.normal(0.022, 0.012)) if sex else 0.0,
        "belly": rng.normal(0.004, 0.014),
        "buttock": rng.normal(0.012, 0.010),
        "shoulder_slope": rng.normal(0.0, 0.008),
        "stoop": float(np.clip(rng.normal(4.0, 4.0), -5.0, 14.0)),
        "head_lean": rng.normal(0.0, 5.0),
        "toe_out": rng.normal(9.0, 5.0),
        "step_width": max(0.02, rng.normal(0.09, 0.03)),
        "leg_asymmetry": rng.normal(0.0, 0.003),
    }


def _clipped(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(), -2.5, 2.5))
