"""A pinhole camera beside the walkers' path."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.walkers.settings import WalkerSettings

Floats = NDArray[np.float64]

# The benchmark's camera, in metres and pixels (at 240 rows), chosen to resemble CASIA-B's.
_DISTANCE, _HEIGHT, _AIM, _FOCAL, _ROWS = 5.2, 1.45, 0.78, 365.0, 240


@dataclass(frozen=True)
class Camera:
    """A camera's position and orientation: `axes` are right, down and ahead, unit rows `[3, 3]`."""

    position: Floats
    axes: Floats
    focal: float
    """In pixels."""
    centre: tuple[float, float]
    """Column and row of the optical axis."""

    def project(self, points: Floats) -> NDArray[np.float32]:
        """Project points `[..., 3]` in metres to columns and rows `[..., 2]`."""
        seen = (points - self.position) @ self.axes.T
        scale = self.focal / np.maximum(seen[..., 2:], 0.1)
        pixels: Floats = seen[..., :2] * scale + np.array(self.centre)
        return pixels.astype(np.float32)


def place_camera(view: int, settings: WalkerSettings, rng: np.random.Generator) -> Camera:
    """Place the camera for a nominal view in degrees; `rng` only affects what varies."""
    spread = settings.camera_variety
    height, width = settings.image_size
    distance = _DISTANCE + spread * (rng.uniform(3.5, 8.0) - _DISTANCE)
    above = _HEIGHT + spread * (
        rng.choice((rng.uniform(0.8, 1.8), rng.uniform(1.2, 3.5))) - _HEIGHT
    )
    focal = _FOCAL * height / _ROWS
    if spread > 0:
        # A focal length drawn by itself could push the walker out of the picture: draw the size.
        rows = rng.uniform(0.28, 0.60) * height * distance / 1.7
        focal += spread * (rows - focal)
    yaw = np.radians(view + settings.view_jitter * rng.uniform(-1, 1))
    roll = np.radians(spread * rng.normal(0.0, 1.2))
    position = np.array([distance * np.cos(yaw), distance * np.sin(yaw), above])
    aim = np.array([0.0, 0.0, _AIM + spread * rng.uniform(-0.05, 0.2)])
    ahead = (aim - position) / np.linalg.norm(aim - position)
    right = np.cross(ahead, np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    turned = (
        right * np.cos(roll) + down * np.sin(roll),
        down * np.cos(roll) - right * np.sin(roll),
    )
    return Camera(position, np.stack([*turned, ahead]), focal, (width / 2, height / 2))
