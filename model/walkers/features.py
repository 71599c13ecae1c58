"""What the checks need of a walk: its gait energy image, a digest, and scalars such as its length.

A gait energy image is the mean of a walk's aligned silhouettes. Compared by Euclidean distance, it
is the oldest baseline of the field. It needs no training, and changes as soon as bodies, movements,
clothes or noise change.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from model.parallel import mapped
from model.silhouettes import align
from model.walkers.generate import OWN, Casting, render_walks
from model.walkers.settings import WalkerSettings

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """The features of one walk."""

    energy: Vector
    """Mean aligned silhouette, 0 to 1, `[H*W]`."""
    digest: str
    """Digest of the masks as rendered."""
    frames: int
    height: float
    """Mean height of the body in the picture, in pixels: what a crop would reveal."""
    phase: float
    """Where in its cycle the walk begins, in cycles, from the opening of the legs."""


Walks = Mapping[tuple[int, str, int], Features]
"""Features by subject, condition and view."""


def features_of(
    subjects: Sequence[int],
    settings: WalkerSettings,
    *,
    conditions: Sequence[str],
    views: Sequence[int],
    workers: int = 1,
    casting: Casting = OWN,
) -> Walks:
    """Render walks and return their features; the walks themselves would be too many to keep."""
    make = partial(
        _subject,
        settings=settings,
        conditions=tuple(conditions),
        views=tuple(views),
        casting=casting,
    )
    return {
        key: features
        for walks in mapped(make, subjects, workers)
        for key, features in walks.items()
    }


def energy_distances(probes: Sequence[Features], gallery: Sequence[Features]) -> Vector:
    """Return squared Euclidean distances between gait energy images: `[n, m]`."""
    a, b = (np.stack([walk.energy for walk in walks]) for walks in (probes, gallery))
    distances: Vector = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return distances


def scalar_distances(
    value: Callable[[Features], float], cycle: float = 0.0
) -> Callable[[Sequence[Features], Sequence[Features]], Vector]:
    """Return the distance function for a number per walk; circular if a `cycle` is given."""

    def distances(probes: Sequence[Features], gallery: Sequence[Features]) -> Vector:
        a, b = (
            np.array([value(walk) for walk in walks], np.float32) for walks in (probes, gallery)
        )
        apart: Vector = np.abs(a[:, None] - b[None])
        return np.minimum(apart, cycle - apart) if cycle else apart

    return distances


def found(distances: Vector, probes: Sequence[int], gallery: Sequence[int]) -> float:
    """Return the share (%) of probes whose nearest sample is of their own subject.

    A tie counts as the share of own samples in it, as if one were drawn. Leaving ties to the order
    of samples could hide a leak, or invent one.
    """
    own = np.asarray(probes)[:, None] == np.asarray(gallery)[None]
    nearest = distances == distances.min(axis=1, keepdims=True)
    return float(((nearest & own).sum(axis=1) / nearest.sum(axis=1)).mean() * 100)


def _subject(
    subject: int,
    *,
    settings: WalkerSettings,
    conditions: tuple[str, ...],
    views: tuple[int, ...],
    casting: Casting,
) -> dict[tuple[int, str, int], Features]:
    return {
        (subject, condition, view): _features(masks)
        for condition in conditions
        for view, masks in render_walks(
            subject, condition, views, settings, casting=casting
        ).items()
    }


def _features(masks: NDArray[np.uint8]) -> Features:
    silhouettes = align(masks).silhouettes
    rows: NDArray[np.bool_] = np.any(masks > 0, axis=2)
    first, last = rows.argmax(axis=1), rows[:, ::-1].argmax(axis=1)
    there: NDArray[np.bool_] = np.any(rows, axis=1)
    heights = masks.shape[1] - first - last
    energy = silhouettes.mean(axis=0, dtype=np.float32).ravel() / np.float32(255)
    return Features(
        energy,
        hashlib.sha256(masks.tobytes()).hexdigest(),
        len(masks),
        float(heights[there].mean()),
        _phase(silhouettes),
    )


def _phase(silhouettes: NDArray[np.uint8]) -> float:
    """Return the phase, 0 to 1, of the strongest oscillation in the width of the lower quarter."""
    legs = silhouettes[:, silhouettes.shape[1] * 3 // 4 :]
    seen: NDArray[np.bool_] = np.any(legs > 127, axis=1)
    width = seen.sum(axis=1).astype(np.float64)
    spectrum = np.fft.rfft(width - width.mean())[1:]
    if not len(spectrum):
        return 0.0
    return float(np.angle(spectrum[np.abs(spectrum).argmax()]) / (2 * np.pi) % 1)
