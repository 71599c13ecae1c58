"""One moment of a gallery: all parts of an answer reflect the same state."""

import numpy as np
from numpy.typing import NDArray

from gallery.calibration import Calibration
from gallery.checks import check_embedding, check_limit
from gallery.current import Current
from gallery.generations import Head
from gallery.records import Candidate, GallerySize
from gallery.settings import GallerySettings
from gallery.store import Store


class Moment:
    """A gallery held still while questions are asked; it was compared with the store once."""

    def __init__(self, store: Store, current: Current, head: Head) -> None:
        self._store = store
        self._current = current
        self._head = head

    @property
    def settings(self) -> GallerySettings:
        """Return the operator's settings for this gallery."""
        return self._current.settings

    @property
    def calibration(self) -> Calibration | None:
        """Return the calibration of the generation that answers; None if there is none."""
        return self._current.calibration

    @property
    def size(self) -> GallerySize:
        """Return how much a search can find."""
        return self._current.sized(self._head)

    def identify(self, embedding: NDArray[np.float32], *, limit: int = 5) -> tuple[Candidate, ...]:
        """Return the `limit` subjects nearest to a probe's embedding float32 `[L]`, nearest first.

        Each candidate has its nearest sample, and the distance that the gallery's setting
        `aggregation` yields. Fewer are returned only if the gallery has no more. Whether the
        nearest is near enough to be the same person is not decided here.

        Raises:
            InvalidEmbedding: not float32 `[L]` of finite numbers up to 65,504.
            InvalidLimit: `limit` is below 1.

        """
        check_embedding(embedding, self._head.model.embedding_length)
        check_limit(limit)
        return self._current.nearest(embedding, limit, self.settings.samples_of_a_subject)

    def verify(self, subject: str, embedding: NDArray[np.float32]) -> Candidate:
        """Compare a probe's embedding float32 `[L]` with one subject; return it as a candidate.

        Raises:
            InvalidEmbedding: not float32 `[L]` of finite numbers up to 65,504.
            SubjectNotFound: there is no such subject.
            SampleDamaged: none of the subject's embeddings can be read.

        """
        check_embedding(embedding, self._head.model.embedding_length)
        sample_ids, embeddings = self._store.embeddings_of(subject, self._head)
        distances = np.linalg.norm(embeddings - embedding, axis=1)
        nearest = np.argsort(distances, kind="stable")[: self.settings.samples_of_a_subject]
        return Candidate(1, subject, float(distances[nearest].mean()), sample_ids[nearest[0]])
