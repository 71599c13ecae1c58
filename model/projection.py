"""Learns linear projections that shorten embeddings. Uses numpy only.

`principal_components` keeps the directions in which embeddings vary most, and so their distances.
`discriminants` keeps those in which people differ and one person does not (Fisher's linear
discriminant analysis), so that other views, bags and coats count for less in a distance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import ExportError

Embeddings = NDArray[np.float32]

SHRINKAGE = 40.0
"""Ridge on the within-subject scatter, in units of its mean; little of it is known for sure."""


@dataclass(frozen=True)
class Projection:
    """``rows @ (embedding - offset)``: float32 `[K, P*D]` and `[P*D]`."""

    rows: Embeddings
    offset: Embeddings
    unit: bool = False
    """Whether to scale the result to length 1."""

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """Project `[N, P*D]` to `[N, K]`."""
        projected = ((embeddings - self.offset) @ self.rows.T).astype(np.float32)
        if not self.unit:
            return projected
        unit: Embeddings = projected / np.linalg.norm(projected, axis=1, keepdims=True)
        return unit

    def kept_energy(self, embeddings: Embeddings) -> float:
        """Return the share of squared distances from the mean that the projection keeps."""
        centred = (embeddings - embeddings.mean(axis=0)).astype(np.float64)
        return float(((centred @ self.rows.T) ** 2).sum() / (centred**2).sum())


def principal_components(embeddings: Embeddings, dimensions: int) -> Projection:
    """Learn the subspace in which the embeddings `[N, P*D]` vary most.

    Raises:
        ExportError: there are not more embeddings than dimensions, embeddings are shorter than
            that, or they span fewer dimensions.

    """
    count, length = embeddings.shape
    if not 1 <= dimensions < min(count, length + 1):
        raise ExportError(
            f"expected 1 to {min(count - 1, length)} dimensions from {count} embeddings of "
            f"{length}, got {dimensions}"
        )
    offset = embeddings.mean(axis=0).astype(np.float32)
    centred = (embeddings - offset).astype(np.float64)
    # The smaller of the two products has the same eigenvalues, and yields the other's eigenvectors.
    wide = count < length
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    if values[-dimensions] <= 1e-9 * values[-1]:
        raise ExportError(f"expected embeddings that span {dimensions} dimensions, got fewer")
    largest = vectors[:, ::-1][:, :dimensions]
    rows = ((centred.T @ largest) / np.sqrt(values[::-1][:dimensions]) if wide else largest).T
    return Projection(rows.astype(np.float32), offset)


def discriminants(
    embeddings: Embeddings,
    subjects: NDArray[np.str_],
    dimensions: int,
    shrinkage: float = SHRINKAGE,
) -> Projection:
    """Learn the directions in which subjects differ most compared with how much one subject varies.

    These are the generalised eigenvectors of the scatter of the subjects' means against the scatter
    of embeddings around them, which is shrunk towards a sphere. Results have length 1: the length
    of a projected walk says how typical it is, not whose it is.

    Args:
        embeddings: float32 `[N, P*D]`.
        subjects: the subject of each, `[N]`.
        dimensions: fewer than there are subjects.
        shrinkage: ridge in units of the mean variance within subjects.

    Raises:
        ExportError: there are too few subjects, or none has two embeddings.

    """
    labels, counts = np.unique(subjects, return_inverse=True, return_counts=True)[1:]
    if not 1 <= dimensions < len(counts) or counts.max() < 2:
        raise ExportError(
            f"expected more than {max(1, dimensions)} subjects with several walks for {dimensions} "
            f"dimensions, got {len(counts)} with up to {counts.max()}"
        )
    offset = embeddings.mean(axis=0, dtype=np.float64)
    means = np.zeros((len(counts), embeddings.shape[1]))
    np.add.at(means, labels, embeddings.astype(np.float64))
    means /= counts[:, None]
    around = embeddings - means[labels]
    within = around.T @ around / len(around)
    ridge = shrinkage * np.trace(within) / len(within)
    root = np.linalg.cholesky(within + max(ridge, 1e-12) * np.eye(len(within)))
    between = (means - offset) * np.sqrt(counts / counts.sum())[:, None]
    directions = np.linalg.svd(np.linalg.solve(root, between.T), full_matrices=False)[0]
    rows = np.linalg.solve(root.T, directions[:, :dimensions]).T
    return Projection(rows.astype(np.float32), offset.astype(np.float32), unit=True)
