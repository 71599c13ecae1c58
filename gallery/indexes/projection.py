"""From long vectors to short codes, and what the codes prove about distances.

A projection takes the mean away and keeps the `D` directions in which a sample of the gallery
spreads most (its principal components). What it leaves out of a vector is kept as a length: by the
triangle inequality in the part left out, for a probe q and a sample x with codes a and b

    |q - x|² ≥ |a - b|² + (left out of q - left out of x)²

so a sample whose bound is above the k-th distance found is proven not to be among the k nearest.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Directions beyond those wanted, and repetitions, that make the randomised search for them exact
# enough (Halko, Martinsson, Tropp 2011, algorithm 4.4).
_OVERSAMPLED = 16
_POWER_ITERATIONS = 1
# Of the sample, what is held back to measure the energy kept.
_HELD_BACK = 10


class Codes(NamedTuple):
    """Short codes float32 `[N, D]`, and squared lengths float32 `[N]` of the centred vectors."""

    codes: Floats
    norms: Floats

    @classmethod
    def none(cls, count: int, dimensions: int) -> "Codes":
        """Stand for codes while there is no projection."""
        return cls(np.zeros((count, dimensions), np.float32), np.zeros(count, np.float32))


@dataclass(frozen=True)
class Projection:
    """The mean float32 `[L]` and `D` orthonormal directions float32 `[D, L]`, largest first."""

    mean: Floats
    basis: Floats
    kept: float
    """Share of the energy around the mean that the codes keep, of vectors not trained on."""
    trained_at: int
    """Samples in the gallery when it was trained."""

    def codes(self, vectors: Floats) -> Codes:
        """Project vectors float32 `[N, L]`."""
        centred: Floats = vectors - self.mean
        return Codes(centred @ self.basis.T, squared_lengths(centred))


def train(sample: Floats, dimensions: int, *, trained_at: int, seed: int = 0) -> Projection:
    """Find the principal directions of a sample float32 `[N, L]` by a randomised SVD.

    A tenth of the sample is held back to measure the energy kept.
    """
    held_back = np.zeros(len(sample), bool)
    held_back[::_HELD_BACK] = True
    taught = sample[~held_back]
    mean = taught.mean(axis=0, dtype=np.float64).astype(np.float32)
    basis = _directions(taught - mean, dimensions, np.random.default_rng(seed))
    untrained = Projection(mean, basis, 0.0, trained_at)
    return Projection(mean, basis, energy_kept(untrained.codes(sample[held_back])), trained_at)


def energy_kept(projected: Codes) -> float:
    """Share of the energy around the mean that the codes keep; 1 where there is none at all."""
    whole = float(projected.norms.sum(dtype=np.float64))
    return float(np.square(projected.codes, dtype=np.float64).sum()) / whole if whole else 1.0


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


def squared_lengths(vectors: Floats) -> Floats:
    """Work out the squared lengths float32 `[N]` of vectors float32 `[N, L]`."""
    lengths: Floats = np.einsum("nl,nl->n", vectors, vectors)
    return lengths
