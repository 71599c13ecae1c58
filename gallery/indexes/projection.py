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
    levels: Floats
    """What sketches of the codes are rounded to, float32 `[numbers, 16]`."""
    kept: float
    """Share of the energy around the mean that the codes keep, of vectors not trained on."""
    trained_at: int
    """Samples in the gallery when it was trained."""

    def codes(self, vectors: Floats) -> Codes:
        """Project vectors float32 `[N, L]`."""
        return project(vectors, self.mean, self.basis)


def project(vectors: Floats, mean: Floats, basis: Floats) -> Codes:
    """Project vectors float32 `[N, L]` on directions `[D, L]` around a mean."""
    centred: Floats = vectors - mean
    return Codes(centred @ basis.T, squared_lengths(centred))


def energy_kept(projected: Codes) -> float:
    """Share of the energy around the mean that the codes keep; 1 where there is none at all."""
    whole = float(projected.norms.sum(dtype=np.float64))
    return float(np.square(projected.codes, dtype=np.float64).sum()) / whole if whole else 1.0


def squared_lengths(vectors: Floats) -> Floats:
    """Work out the squared lengths float32 `[N]` of vectors float32 `[N, L]`."""
    lengths: Floats = np.einsum("nl,nl->n", vectors, vectors)
    return lengths
