"""Settings of a set of walkers: everything that can affect the pixels, and nothing else."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

from model.errors import ConfigError

VIEWS = tuple(range(0, 181, 18))
"""CASIA-B's angles in degrees: 0 walks towards the camera, 90 to the left, 180 away."""

CONDITIONS = (
    *("nm-01", "nm-02", "nm-03", "nm-04", "nm-05", "nm-06"),
    *("bg-01", "bg-02"),
    *("cl-01", "cl-02"),
)
"""CASIA-B's sequences: normal, with a bag, in a coat."""

MAX_FRAMES = 1000
"""Maximum frames of a walk; the whole way across the picture takes fewer than 100."""

MAX_IMAGE_SIZE = 1024
"""Maximum rows or columns of an image."""


@dataclass(frozen=True)
class WalkerSettings:
    """How walkers are generated; the defaults are the calibrated benchmark.

    The four varieties are 0 for the benchmark's eleven fixed cameras, and 1 for the full spread
    that a model needs to work with cameras never seen before.
    """

    seed: int = 0
    frames: int | None = 30
    """Frames per walk; None for the whole way across the picture (60 to 90 frames)."""
    fps: float = 25.0
    image_size: tuple[int, int] = (240, 320)
    """Height and width in pixels."""
    session_scale: float = 0.33
    """How much a subject's sessions differ, relative to how much subjects differ."""
    noise: float = 1.0
    """Strength of the segmentation errors; 0 gives clean outlines."""
    noise_variety: float = 0.0
    """Strength varies from half to double between walks, and with it the lens's sharpness."""
    camera_variety: float = 0.0
    """Variation of distance (3.5-8 m), height (0.8-3.5 m), size in the picture, tilt and roll."""
    view_jitter: float = 0.0
    """Largest deviation from the nominal view, in degrees."""
    pace_variety: float = 0.0
    """Variation of frame rate (15-30 per second) and walking speed."""

    def __post_init__(self) -> None:
        """Reject settings that no walk can be generated from."""
        if self.seed < 0:
            raise ConfigError(f"expected a seed of 0 or more, got {self.seed}")
        if self.frames is not None and not 1 <= self.frames <= MAX_FRAMES:
            raise ConfigError(
                f"expected 1 to {MAX_FRAMES} frames, or none for all, got {self.frames}"
            )
        if not 0 < self.fps < math.inf:
            raise ConfigError(f"expected more than 0 frames a second, got {self.fps}")
        if not all(48 <= side <= MAX_IMAGE_SIZE for side in self.image_size):
            raise ConfigError(
                f"expected an image of 48 to {MAX_IMAGE_SIZE} pixels a side, got {self.image_size}"
            )
        for name in ("session_scale", "noise", "view_jitter"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"expected {name} of 0 or more, got {getattr(self, name)}")
        for name in ("camera_variety", "noise_variety", "pace_variety"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} from 0 to 1, got {getattr(self, name)}")

    def varied(self, strength: float = 1.0) -> Self:
        """Return these settings with every variety set, as training data for unknown cameras."""
        return dataclasses.replace(
            self,
            camera_variety=strength,
            noise_variety=strength,
            pace_variety=strength,
            view_jitter=9.0 * strength,
        )
