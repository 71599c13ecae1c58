"""Augments clips as another camera, crop or segmenter might, without changing who walks.

Every function takes an explicit generator and a clip uint8 `[T, H, W]`. Scale, aspect, shift and
mirroring are a single resampling by two small matrices, one for rows and one for columns, so they
cost two matrix products per clip.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bounds import check_at_least, check_share

Clip = NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how strongly clips are changed; zeros, with speed 1, leave them unchanged."""

    mirror: float = 0.5
    """Share of clips mirrored. A mirrored walk of view v looks like one of view 180 - v."""
    shift: float = 2.0
    """Largest shift in rows and in columns, in pixels of the 64x44 picture."""
    scale: float = 0.04
    """Largest relative change of height, and of width relative to height."""
    erase: float = 0.3
    """Share of clips with one box erased, the same in all frames."""
    outline: float = 0.3
    """Share of clips whose outline is thickened, thinned, frayed or binarised."""
    speed: float = 1.5
    """Frames are taken up to this many times as far apart as they were recorded."""
    drop: float = 0.3
    """Share of clips with single frames missing."""

    def __post_init__(self) -> None:
        """Reject values that are not shares, and speeds below that of the recording."""
        check_share("sampler.augment", self, "mirror", "scale", "erase", "outline", "drop")
        check_at_least(0, "sampler.augment", self, "shift")
        check_at_least(1, "sampler.augment", self, "speed")


def frame_positions(
    length: int, frames: int, config: AugmentConfig, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Choose which frames of a walk of `length` make up a clip: int64 `[frames]`.

    Frames are consecutive except for a random speed and randomly dropped frames, as far as the walk
    is long enough for these. A walk shorter than the clip is repeated along time.
    """
    speed = generator.uniform(1.0, config.speed) if generator.random() < 0.5 else 1.0
    dropped = generator.integers(1, frames // 4 + 2) if generator.random() < config.drop else 0
    span = min(frames + int(dropped), max(frames, length))
    steps = np.arange(span)
    if dropped:
        steps = np.sort(generator.choice(span, frames, replace=False))
        steps -= steps[0]
    longest = (length - 1) / max(1, int(steps[-1]))
    steps = np.floor(steps * min(speed, max(1.0, longest))).astype(np.int64)
    free = length - int(steps[-1])
    start = generator.integers(free) if free > 0 else generator.integers(length)
    positions: NDArray[np.int64] = (start + steps) % length
    return positions


def augmented(clip: Clip, config: AugmentConfig, generator: np.random.Generator) -> Clip:
    """Return the clip as another camera and another segmenter might have seen it."""
    changed = _outlined(clip, generator) if generator.random() < config.outline else clip
    changed = _resampled(changed, config, generator)
    return _erased(changed, generator) if generator.random() < config.erase else changed


def _resampled(clip: Clip, config: AugmentConfig, generator: np.random.Generator) -> Clip:
    height, width = clip.shape[1:]
    largest_shift = config.shift * height / 64
    tall = 1 + generator.uniform(-config.scale, config.scale)
    wide = tall * (1 + generator.uniform(-config.scale, config.scale))
    down, right = generator.uniform(-largest_shift, largest_shift, 2)
    rows = _resampling(height, tall, down)
    columns = _resampling(width, wide, right)
    if generator.random() < config.mirror:
        columns = columns[:, ::-1]
    # The products are convex combinations of grey values, so rounding stays within 0..255.
    moved: NDArray[np.float32] = rows @ clip.astype(np.float32) @ columns.T
    changed: Clip = np.rint(moved).astype(np.uint8)
    return changed


def _resampling(pixels: int, scale: float, shift: float) -> NDArray[np.float32]:
    """Return a matrix `[pixels, pixels]`: scale a line about its centre, then shift it (linear)."""
    middle = (pixels - 1) / 2
    seen = (np.arange(pixels) - middle - shift) / scale + middle
    distance = np.abs(seen[:, None] - np.arange(pixels)[None, :])
    weights: NDArray[np.float32] = np.maximum(0, 1 - distance).astype(np.float32)
    return weights


def _erased(clip: Clip, generator: np.random.Generator) -> Clip:
    height, width = clip.shape[1:]
    tall = int(generator.integers(height // 16, height // 4 + 1))
    wide = int(generator.integers(width // 8, width // 2 + 1))
    top = int(generator.integers(height - tall + 1))
    left = int(generator.integers(width - wide + 1))
    changed = clip.copy()
    changed[:, top : top + tall, left : left + wide] = 0
    return changed


def _outlined(clip: Clip, generator: np.random.Generator) -> Clip:
    kind = generator.integers(4)
    if kind == 0:
        return _thickened(clip)
    if kind == 1:
        return 255 - _thickened(255 - clip)
    if kind == 2:
        return _frayed(clip, generator)
    level = generator.integers(80, 176)
    return np.where(clip > level, np.uint8(255), np.uint8(0))


def _thickened(clip: Clip) -> Clip:
    """Dilate grey values over each pixel's four neighbours."""
    thick = clip.copy()
    np.maximum(thick[:, 1:], clip[:, :-1], out=thick[:, 1:])
    np.maximum(thick[:, :-1], clip[:, 1:], out=thick[:, :-1])
    np.maximum(thick[:, :, 1:], clip[:, :, :-1], out=thick[:, :, 1:])
    np.maximum(thick[:, :, :-1], clip[:, :, 1:], out=thick[:, :, :-1])
    return thick


def _frayed(clip: Clip, generator: np.random.Generator) -> Clip:
    """Invert a random share of the pixels beside the outline, different ones in every frame."""
    thin = 255 - _thickened(255 - clip)
    beside = _thickened(clip) - thin > 127
    turned = beside & (generator.random(clip.shape, np.float32) < generator.uniform(0.05, 0.3))
    return np.where(turned, 255 - clip, clip)
