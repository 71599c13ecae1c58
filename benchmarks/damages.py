"""Ways to damage a walk's silhouettes: worse segmentation, another camera, fewer frames.

Each damage takes the frames of a walk, uint8 `[H, W]` of 0 and 255, and a random generator, and
returns other frames. Random values are drawn anew for every frame, as segmentation errors vary too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Frame = NDArray[Any]
Frames = Sequence[Frame]
Damage = Callable[[Frames, Generator], Frames]

_CROSS = np.ones((3, 3), np.uint8)


def of_bodies(act: Callable[[Frame, "Box", Generator], Frame]) -> Damage:
    """Apply a damage to every frame that shows a body, passing the body's position."""

    def damaged(frames: Frames, random: Generator) -> Frames:
        return [act(frame.copy(), Box(frame), random) if frame.any() else frame for frame in frames]

    return damaged


class Box:
    """The body's position: rows `top` to `bottom` and columns `left` to `right`, all inclusive."""

    def __init__(self, frame: Frame) -> None:
        rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
        self.top, self.bottom = int(rows[0]), int(rows[-1])
        self.left, self.right = int(columns[0]), int(columns[-1])
        self.height = self.bottom - self.top + 1


def _specks(frame: Frame, _box: Box, random: Generator) -> Frame:
    """Invert 2 % of the pixels."""
    turned = random.random(frame.shape) < 0.02
    frame[turned] = 255 - frame[turned]
    return frame


def _blobs(frame: Frame, _box: Box, random: Generator) -> Frame:
    """Draw four discs of up to a dozen pixels at random places."""
    for _ in range(4):
        centre = int(random.integers(frame.shape[1])), int(random.integers(frame.shape[0]))
        cv2.circle(frame, centre, int(random.integers(2, 7)), 255, cv2.FILLED)
    return frame


def _holes(frame: Frame, box: Box, random: Generator) -> Frame:
    """Punch three holes, a sixth of the body's height across."""
    for _ in range(3):
        centre = (
            int(random.integers(box.left, box.right + 1)),
            int(random.integers(box.top, box.bottom + 1)),
        )
        cv2.circle(frame, centre, max(2, box.height // 12), 0, cv2.FILLED)
    return frame


def _gap(frame: Frame, box: Box, random: Generator) -> Frame:
    """Cut the body in two, like a belt in the background's colour."""
    at = box.top + int(box.height * random.uniform(0.3, 0.9))
    frame[at : at + max(1, box.height // 40)] = 0
    return frame


def _feet(frame: Frame, box: Box, random: Generator) -> Frame:
    """Remove up to an eighth from the bottom, like grass."""
    frame[box.bottom + 1 - int(box.height * random.uniform(0, 0.125)) :] = 0
    return frame


def _shadow(frame: Frame, box: Box, _random: Generator) -> Frame:
    """Add a shadow on the ground, half as long as the body is high."""
    centre = (box.left + box.right) // 2 + box.height // 4, box.bottom
    axes = box.height // 4, max(2, box.height // 30)
    cv2.ellipse(frame, centre, axes, 0, 0, 360, 255, cv2.FILLED)
    return frame


def _frayed(frame: Frame, _box: Box, random: Generator) -> Frame:
    """Fray the outline by a few pixels."""
    edge = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
    noisy = frame + np.where(edge, random.normal(0, 90, frame.shape), 0)
    return np.where(cv2.GaussianBlur(noisy, (3, 3), 0) > 127, 255, 0).astype(np.uint8)


def _half_size(frame: Frame, _box: Box, _random: Generator) -> Frame:
    """View it from twice the distance."""
    smaller = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.where(smaller > 127, 255, 0).astype(np.uint8)


def _wider(frame: Frame, _box: Box, _random: Generator) -> Frame:
    """Stretch it by 15 %, like a wrong aspect ratio."""
    return np.asarray(cv2.resize(frame, None, fx=1.15, fy=1, interpolation=cv2.INTER_NEAREST))


def _tilted(frame: Frame, _box: Box, _random: Generator) -> Frame:
    """Tilt the camera by five degrees."""
    height, width = frame.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 5, 1)
    return np.asarray(cv2.warpAffine(frame, turn, (width, height), flags=cv2.INTER_NEAREST))


def _lost(frames: Frames, random: Generator) -> Frames:
    kept = [frame for frame in frames if random.random() < 0.7]
    return kept or frames[:1]


DAMAGES: Mapping[str, Damage] = {
    "none": lambda frames, _: frames,
    "2 % of the pixels turned": of_bodies(_specks),
    "four blobs beside it": of_bodies(_blobs),
    "three holes": of_bodies(_holes),
    "cut in two": of_bodies(_gap),
    "feet hidden, up to an eighth": of_bodies(_feet),
    "a shadow": of_bodies(_shadow),
    "a pixel thinner": of_bodies(lambda frame, *_: cv2.erode(frame, _CROSS)),
    "a pixel thicker": of_bodies(lambda frame, *_: cv2.dilate(frame, _CROSS)),
    "a frayed outline": of_bodies(_frayed),
    "half the size": of_bodies(_half_size),
    "15 % wider": of_bodies(_wider),
    "camera tilted by 5°": of_bodies(_tilted),
    "three frames in ten lost": _lost,
    "every other frame": lambda frames, _: frames[::2],
    "every frame twice": lambda frames, _: [frame for frame in frames for _ in range(2)],
    "the first 25 frames": lambda frames, _: frames[:25],
}
