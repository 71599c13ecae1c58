"""Projects long vectors to short codes, which give bounds of distances.

A projection subtracts the mean and keeps the `D` directions in which the gallery's samples vary
most (its principal components). Of the part of a vector that it leaves out, it keeps the length. By
the triangle inequality in the left-out part, for a probe q and a sample x with codes a and b

    |q - x|² ≥ |a - b|² + (left out of q - left out of x)²

so a sample whose bound exceeds the k-th distance found is proven not to be among the k nearest.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Codes(NamedTuple):
    """Short codes float32 `[N, D]`, and squared lengths float32 `[N]` of the centred vectors."""

    codes: Floats
    norms: Floats

    @classmethod
    def none(cls, count: int, dimensions: int) -> "Codes":
        """Return zeros, for use while there is no projection."""
        return cls(np.zeros((count, dimensions), np.float32), np.zeros(count, np.float32))


@dataclass(frozen=True)
class Projection:
    """The mean float32 `[L]` and `D` orthonormal directions float32 `[D, L]`, largest first."""

    mean: Floats
    basis: Floats
    levels: Floats
    """The levels that sketches of the codes are rounded to, float32 `[numbers, 16]`."""
    kept: float
    """Share of the energy around the mean that the codes keep, for vectors not trained on."""
    trained_at: int
    """Number of samples in the gallery when it was trained."""

    def codes(self, vectors: Floats) -> Codes:
        """Project vectors float32 `[N, L]`."""
        return project(vectors, self.mean, self.basis)


def project(vectors: Floats, mean: Floats, basis: Floats) -> Codes:
    """Project vectors float32 `[N, L]` on directions `[D, L]` around a mean."""
    centred: Floats = vectors - mean
    return Codes(centred @ basis.T, squared_lengths(centred))


def energy_kept(projected: Codes) -> float:
    """Return the share of the energy around the mean that the codes keep; 1 if there is none."""
    whole = float(projected.norms.sum(dtype=np.float64))
    return float(np.square(projected.codes, dtype=np.float64).sum()) / whole if whole else 1.0


def squared_lengths(vectors: Floats) -> Floats:
    """Return the squared lengths float32 `[N]` of vectors float32 `[N, L]`."""
    lengths: Floats = np.einsum("nl,nl->n", vectors, vectors)
    return lengths
