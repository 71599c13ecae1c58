"""Generates any number of embeddings with the distribution of a model's, the shipped by default.

First the model's embeddings of synthetic walkers are measured: how subjects vary around their mean,
and walks around their subject. Subjects and walks are then drawn from normal distributions with
these covariances, and each part is scaled to unit length, as the model does.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.walkers.generate import packed_walk
from model.walkers.settings import WalkerSettings

Floats = NDArray[np.float32]
_SEEN_SUBJECTS = range(10_001, 10_151)
# Share of the variance within subjects to draw from; the rest would double the time.
_KEPT = 0.99


class Spread(NamedTuple):
    """A mean, and factors float32 `[n, L]` of the covariances between and within subjects."""

    mean: Floats
    between: Floats
    within: Floats
    parts: int = 1
    """Parts of an embedding, each of length 1."""

    def walks(self, subjects: NDArray[np.int64], seed: int) -> Floats:
        """Draw a walk float32 `[N, L]` for each given subject; a subject is always the same."""
        rng = np.random.default_rng([seed, int(subjects[0])])
        own = {
            one: np.random.default_rng([7, one]).normal(size=len(self.between))
            for one in set(subjects.tolist())
        }
        walks = np.float32([own[one] for one in subjects.tolist()]) @ self.between
        walks += rng.standard_normal((len(subjects), len(self.within)), np.float32) @ self.within
        walks += self.mean
        parts = walks.reshape(len(walks), self.parts, -1)
        parts /= np.linalg.norm(parts, axis=2, keepdims=True)
        return walks


class Seen(NamedTuple):
    """Embeddings float32 `[N, L]` of walkers, their subjects, and the number of parts."""

    embeddings: Floats
    subjects: NDArray[np.int64]
    parts: int


def seen(path: Path | None, model: Path = SHIPPED_MODEL) -> Seen:
    """Embed synthetic walkers, or load what an earlier run kept."""
    if path is not None and path.exists():
        with np.load(path) as file:
            return Seen(file["embeddings"], file["subjects"], int(file["parts"]))
    encoder, settings = OnnxEncoder.open(model), WalkerSettings(frames=20)
    asked = [
        (s, c, v)
        for s in _SEEN_SUBJECTS
        for c in ("nm-01", "nm-05", "cl-01")
        for v in (36, 90, 144)
    ]
    walks = [packed_walk(*one, settings) for one in asked]
    embeddings = np.concatenate([encoder.encode([walk]) for walk in walks])
    subjects = np.array([subject for subject, _, _ in asked])
    if path is not None:
        np.savez(path, embeddings=embeddings, subjects=subjects, parts=encoder.facts.parts)
    return Seen(embeddings, subjects, encoder.facts.parts)


def measure(embeddings: Floats, subjects: NDArray[np.int64], parts: int) -> Spread:
    """Estimate the covariances between and within subjects, as factors."""
    _, place = np.unique(subjects, return_inverse=True)
    means = np.stack([embeddings[place == one].mean(axis=0) for one in range(place.max() + 1)])
    mean, residuals = means.mean(axis=0), embeddings - means[place]
    # Each subject's mean costs one degree of freedom.
    residuals /= np.sqrt(len(embeddings) - len(means))
    _, sizes, directions = np.linalg.svd(residuals, full_matrices=False)
    energy = np.cumsum(sizes**2)
    kept = int(np.searchsorted(energy, _KEPT * energy[-1])) + 1
    within = directions[:kept] * sizes[:kept, None]
    between = (means - mean) / np.sqrt(len(means) - 1)
    return Spread(np.float32(mean), np.float32(between), np.float32(within), parts)
