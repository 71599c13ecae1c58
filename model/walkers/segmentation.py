"""Simulates a segmenter's errors: ragged edges, holes, cut limbs, shadows, specks.

Networks trained on clean outlines lose far more on segmented video than through clothes, so this
noise is part of the data, not an option of the training.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from model.walkers.settings import MAX_IMAGE_SIZE

Floats = NDArray[np.float32]

_MARGIN = 8
_TEXTURE_SIZE = MAX_IMAGE_SIZE


@dataclass(frozen=True)
class Segmenter:
    """The errors of one camera in one walk."""

    strength: float
    blur: float
    """Standard deviation in pixels."""
    bias: float
    """Outlines grow above 0 and shrink below."""
    contrast: Floats
    """Share of the contrast that remains in front of a fixed background, `[H, W]`, at most 1."""
    shadow: tuple[float, float] | None
    """Length and direction of a shadow on the floor, as shares of the body's height."""


def draw_segmenter(
    walk: np.random.Generator,
    background: np.random.Generator,
    *,
    size: tuple[int, int],
    strength: float,
    variety: float,
) -> Segmenter:
    """Draw the errors; `background` depends on the camera, `walk` on the camera and the walk."""
    strength *= 2.0 ** (variety * walk.uniform(-1, 1))
    shadow = (walk.uniform(0.15, 0.4), walk.uniform(-1, 1))
    return Segmenter(
        strength=strength,
        blur=1.2 * (1 + variety * walk.uniform(-0.3, 0.9)),
        bias=min(strength, 1.5) * (background.normal(0, 0.08) + walk.normal(0, 0.05)),
        contrast=_draw_contrast(background, walk, size, strength),
        shadow=shadow if walk.random() < 0.15 * min(strength, 1.5) else None,
    )


def segment(
    masks: NDArray[np.uint8], segmenter: Segmenter, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return masks `[T, H, W]` as a segmenter would give them; unchanged at strength 0."""
    if segmenter.strength == 0:
        return masks
    result = np.zeros_like(masks)
    for mask, target in zip(masks, result, strict=True):
        box = _box(mask)
        if box is not None:
            rows, columns = box
            target[rows, columns] = _segment_crop(mask[rows, columns], box, segmenter, rng)
    return result


def _segment_crop(
    crop: NDArray[np.uint8],
    box: tuple[slice, slice],
    segmenter: Segmenter,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    height, width = crop.shape
    if segmenter.shadow is not None:
        crop = _with_shadow(crop, segmenter.shadow)
    blurred = cv2.GaussianBlur(crop.astype(np.float32), (0, 0), segmenter.blur)
    soft = blurred * segmenter.contrast[box] * np.float32(1 / 255)
    row = int(rng.integers(0, _TEXTURE_SIZE - height + 1))
    column = int(rng.integers(0, _TEXTURE_SIZE - width + 1))
    noise = _texture()[row : row + height, column : column + width]
    level = 0.5 - segmenter.bias
    # Ragged edges grow more slowly than the other errors, or a body would fall to pieces.
    ragged = np.float32(0.15 * min(segmenter.strength, 1.0 + 0.25 * (segmenter.strength - 1.0)))
    found = (soft + ragged * noise > level).astype(np.uint8)
    if rng.random() < 0.02 * segmenter.strength:
        _cut(found, rng)
    return _without_specks(found)


def _box(mask: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Return the rows and columns of the body, with a margin."""
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    return (
        slice(max(0, top - _MARGIN), min(mask.shape[0], top + height + _MARGIN)),
        slice(max(0, left - _MARGIN), min(mask.shape[1], left + width + _MARGIN)),
    )


@cache
def _texture() -> Floats:
    """Return smooth noise of unit variance, of which each frame uses a different section."""
    white = np.random.default_rng(20230716).standard_normal((_TEXTURE_SIZE, _TEXTURE_SIZE))
    fine, coarse = (
        cv2.GaussianBlur(white.astype(np.float32), (0, 0), width) for width in (1.6, 4.5)
    )
    smooth = fine / fine.std() + 0.8 * coarse / coarse.std()
    return np.asarray(smooth / smooth.std(), np.float32)


def _smooth_field(rng: np.random.Generator, size: tuple[int, int], cell: int) -> Floats:
    """Return a field of about unit variance that varies over `cell` pixels."""
    coarse = rng.standard_normal((size[0] // cell + 3, size[1] // cell + 3)).astype(np.float32)
    fine = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, np.float32)


def _draw_contrast(
    background: np.random.Generator,
    walk: np.random.Generator,
    size: tuple[int, int],
    strength: float,
) -> Floats:
    """Return the contrast, lowered where the background resembles the clothes."""
    scene = 0.75 * _smooth_field(background, size, 16) + 0.45 * _smooth_field(background, size, 7)
    likeness = scene + 0.35 * _smooth_field(walk, size, 20)
    # Only the tail of the field matters: a few per cent of the picture at strength 1.
    lost = np.clip((likeness - 1.55) * 1.2, 0, 0.8) * min(strength, 2.0)
    return np.asarray(1 - np.clip(lost, 0, 0.9), np.float32)


def _with_shadow(crop: NDArray[np.uint8], shadow: tuple[float, float]) -> NDArray[np.uint8]:
    """Add an elliptical shadow on the floor, starting at the feet."""
    height, width = crop.shape
    body = height - 2 * _MARGIN
    length, direction = shadow
    centre = (round(width / 2 + direction * 0.5 * length * body), height - _MARGIN - 1)
    axes = (max(2, round(0.5 * length * body)), max(1, round(0.02 * body)))
    return np.asarray(cv2.ellipse(crop.copy(), centre, axes, 0, 0, 360, 255, -1), np.uint8)


def _cut(found: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Remove the head, the feet or a block of the body in one frame."""
    height, width = found.shape
    share = rng.uniform(0.04, 0.12)
    kind = rng.integers(3)
    if kind == 0:
        found[: _MARGIN + round(share * height)] = 0
    elif kind == 1:
        found[height - _MARGIN - round(share * height) :] = 0
    else:
        side = round(share * height) + 2
        row = int(rng.integers(0, max(1, height - side)))
        column = int(rng.integers(0, max(1, width - side)))
        found[row : row + side, column : column + side] = 0


def _without_specks(found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest piece and those at least a tenth as large, as 0 and 255."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    if count <= 2:
        return found * np.uint8(255)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = (areas * 10 >= areas.max()) & (areas > 0)
    return np.asarray(np.where(keep, 255, 0)[labels], np.uint8)
