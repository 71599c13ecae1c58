"""Finding the principal directions of a gallery, which it is coded by, by a randomised SVD."""

import numpy as np

from gallery.indexes.projection import Floats, Projection, energy_kept, project
from gallery.indexes.sketch import levels_of

# Directions beyond those wanted, and repetitions, that make the randomised search for them exact
# enough (Halko, Martinsson, Tropp 2011, algorithm 4.4).
_OVERSAMPLED = 16
_POWER_ITERATIONS = 1
# Of the sample, what is held back to measure the energy kept.
_HELD_BACK = 10


def train(sample: Floats, dimensions: int, *, trained_at: int, seed: int = 0) -> Projection:
    """Find the principal directions of a sample float32 `[N, L]` by a randomised SVD.

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
    """Fill up to `dimensions` rows, for a sample of fewer directions, and round once."""
    length = directions.shape[1]
    whole = np.zeros((min(dimensions, length), length), np.float64)
    whole[: len(directions)] = directions
    # Directions of no energy come out of an SVD as noise; QR makes them orthonormal to the others.
    short = np.linalg.norm(whole, axis=1) < 0.5
    whole[short] = np.random.default_rng(1).normal(size=(int(short.sum()), length))
    orthonormal, _ = np.linalg.qr(whole.T)
    return np.ascontiguousarray(orthonormal.T, dtype=np.float32)
