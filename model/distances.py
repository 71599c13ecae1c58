"""Euclidean distances between two sets of embeddings, small enough for a full matrix."""

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]


def flat_distances(probes: Embeddings, gallery: Embeddings) -> NDArray[np.float32]:
    """Return distances of flattened embeddings, as in the gallery: `[n, L]`, `[m, L]` to `[n, m]`.

    Computed in float64, since |a|² + |b|² - 2ab loses small distances in float32.
    """
    a, b = probes.astype(np.float64), gallery.astype(np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * (a @ b.T)
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squares, 0)).astype(np.float32)
    return distances


def part_distances(probes: Embeddings, gallery: Embeddings, parts: int) -> NDArray[np.float32]:
    """Return the mean over parts of each part's distance, as OpenGait's evaluator measures it.

    Takes flattened embeddings, `[n, P*D]` and `[m, P*D]`; returns `[n, m]`.
    """
    total = np.zeros((len(probes), len(gallery)), np.float32)
    a, b = (e.reshape(len(e), parts, -1) for e in (probes, gallery))
    for part in range(parts):
        total += flat_distances(a[:, part], b[:, part])
    return total / np.float32(parts)
