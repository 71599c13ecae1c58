"""What a subject wears and carries: the covariates of CASIA-B.

Each subject wears one set of clothes in the nm walks; bg adds one bag; cl puts one coat over the
same trousers and shoes.
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from model.walkers.seeds import Stream, stream

# Share of a coat's thickness that shows on each side, as it is pressed between body and arms.
_COAT_SIDE = 0.65


class BagKind(Enum):
    """Where a bag hangs."""

    BACKPACK = "backpack"
    SHOULDER = "shoulder bag"
    HAND = "handbag"


@dataclass(frozen=True)
class Bag:
    """A bag: sizes in metres, `side` 0 left or 1 right."""

    kind: BagKind
    width: float
    height: float
    depth: float
    side: int


@dataclass(frozen=True)
class Coat:
    """What a coat adds besides thickness: collar, hood, and its effect on the arms."""

    collar: float
    hood: bool
    arm_swing: float
    arm_abduction: float
    pockets: bool


@dataclass(frozen=True)
class Outfit:
    """Clothes as thickness over the body, in metres."""

    trousers: float
    flare: float
    """Extra width at the lower end of the trousers."""
    sole: float
    top: float
    sleeve: float
    hem: float
    """Lower end of the top, measured down from the hip joint."""
    skirt_flare: float
    """Extra width at the hem."""
    bag: Bag | None = None
    coat: Coat | None = None


def draw_outfit(seed: int, subject: int, condition: str) -> Outfit:
    """Return a subject's outfit in a condition; the number after the dash makes no difference."""
    clothes = _draw_clothes(stream(seed, Stream.CLOTHES, subject))
    if condition.startswith("bg"):
        return replace(clothes, bag=_draw_bag(stream(seed, Stream.BAG, subject)))
    if condition.startswith("cl"):
        return _put_on_coat(clothes, stream(seed, Stream.COAT, subject))
    return clothes


def _draw_clothes(rng: np.random.Generator) -> Outfit:
    top = rng.uniform(0.006, 0.018)
    return Outfit(
        trousers=rng.uniform(0.007, 0.020),
        flare=rng.uniform(0.0, 0.022),
        sole=rng.uniform(0.010, 0.030),
        top=top,
        sleeve=0.8 * top,
        hem=rng.uniform(0.02, 0.10),
        skirt_flare=rng.uniform(0.0, 0.01),
    )


def _draw_bag(rng: np.random.Generator) -> Bag:
    kinds = (BagKind.BACKPACK, BagKind.SHOULDER, BagKind.HAND)
    return Bag(
        kind=kinds[int(rng.choice(3, p=(0.35, 0.40, 0.25)))],
        width=rng.uniform(0.20, 0.32),
        height=rng.uniform(0.22, 0.38),
        depth=rng.uniform(0.08, 0.18),
        side=int(rng.integers(2)),
    )


def _put_on_coat(clothes: Outfit, rng: np.random.Generator) -> Outfit:
    # Hem at the hip, or at the upper, middle or lower thigh.
    hem = (0.04, 0.14, 0.25, 0.36)[int(rng.choice(4, p=(0.2, 0.3, 0.3, 0.2)))]
    thickness = rng.uniform(0.040, 0.085)
    return replace(
        clothes,
        top=_COAT_SIDE * thickness,
        sleeve=_COAT_SIDE * rng.uniform(0.022, 0.050),
        hem=hem + rng.uniform(-0.03, 0.03),
        skirt_flare=rng.uniform(0.0, 0.08) * (0.4 + hem),
        coat=Coat(
            collar=rng.uniform(0.02, 0.08),
            hood=bool(rng.random() < 0.4),
            arm_swing=rng.uniform(0.4, 0.9),
            arm_abduction=rng.uniform(2.0, 9.0),
            pockets=bool(rng.random() < 0.25),
        ),
    )
