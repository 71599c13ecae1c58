"""Finds the principal directions of a gallery, the basis of its codes, by a randomised SVD."""

import numpy as np

from gallery.indexes.projection import Floats, Projection, energy_kept, project
from gallery.indexes.sketch import levels_of

# Extra directions, and repetitions, that make the randomised search accurate enough (Halko,
# Martinsson, Tropp 2011, algorithm 4.4).
_OVERSAMPLED = 16
_POWER_ITERATIONS = 1
# One in so many samples is held back to measure the energy kept.
_HELD_BACK = 10


def train(sample: Floats, dimensions: int, *, trained_at: int, seed: int = 0) -> Projection:
    """Train a projection on a sample of vectors float32 `[N, L]` by a randomised SVD.

    A tenth of the sample is held back to measure the energy kept.
    """
    held_back = np.zeros(len(sample), bool)
    held_back[::_HELD_BACK] = True
    taught = sample[~held_back]
    mean = taught.mean(axis=0, dtype=np.float64).astype(np.float32)
    basis = _directions(taught - mean, dimensions, np.random.default_rng(seed))
    levels = levels_of(project(taught, mean, basis))
    kept = energy_kept(project(sample[held_back], mean, basis))
    return Projection(mean, basis, levels, kept, trained_at)


def _directions(centred: Floats, dimensions: int, rng: np.random.Generator) -> Floats:
    wanted = min(dimensions + _OVERSAMPLED, *centred.shape)
    start = rng.standard_normal((centred.shape[1], wanted), dtype=np.float32)
    found, _ = np.linalg.qr(centred @ start)
    for _ in range(_POWER_ITERATIONS):
        back, _ = np.linalg.qr(centred.T @ found)
        found, _ = np.linalg.qr(centred @ back)
    _, _, directions = np.linalg.svd(found.T @ centred, full_matrices=False)
    return _orthonormal(directions[:dimensions], dimensions)


def _orthonormal(directions: Floats, dimensions: int) -> Floats:
    """Pad to `dimensions` rows, if the sample has fewer directions, and round to float32 once."""
    length = directions.shape[1]
    whole = np.zeros((min(dimensions, length), length), np.float64)
    whole[: len(directions)] = directions
    # An SVD returns directions without energy as noise; QR makes them orthonormal to the others.
    short = np.linalg.norm(whole, axis=1) < 0.5
    whole[short] = np.random.default_rng(1).normal(size=(int(short.sum()), length))
    orthonormal, _ = np.linalg.qr(whole.T)
    return np.ascontiguousarray(orthonormal.T, dtype=np.float32)
