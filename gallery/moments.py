"""One moment of a gallery: everything that one answer says is as of the same write."""

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
    """A gallery that is held still while it is asked, and was compared with the store once."""

    def __init__(self, store: Store, current: Current, head: Head) -> None:
        self._store = store
        self._current = current
        self._head = head

    @property
    def settings(self) -> GallerySettings:
        """What the operator chose for this gallery."""
        return self._current.settings

    @property
    def calibration(self) -> Calibration | None:
        """What was measured with the generation that answers; None when nothing was."""
        return self._current.calibration

    @property
    def size(self) -> GallerySize:
        """What a search can find."""
        return self._current.sized(self._head)

    def identify(self, embedding: NDArray[np.float32], *, limit: int = 5) -> tuple[Candidate, ...]:
        """Name the `limit` subjects nearest to a probe's embedding float32 `[L]`, nearest first.

        Each subject stands with its nearest sample, and with the distance that the gallery's
        setting `aggregation` makes of its samples. Fewer come back only when the gallery has no
        more. Whether the nearest is near enough to be the same person is not said here.

        Raises:
            InvalidEmbedding: not float32 `[L]` of finite numbers up to 65,504.
            InvalidLimit: `limit` is below 1.

        """
        check_embedding(embedding, self._head.model.embedding_length)
        check_limit(limit)
        return self._current.nearest(embedding, limit, self.settings.samples_of_a_subject)

    def verify(self, subject: str, embedding: NDArray[np.float32]) -> Candidate:
        """Compare a probe's embedding float32 `[L]` with one subject's samples: the nearest.

        Raises:
            InvalidEmbedding: not float32 `[L]` of finite numbers up to 65,504.
            SubjectNotFound: there is no such subject.

        """
        check_embedding(embedding, self._head.model.embedding_length)
        sample_ids, embeddings = self._store.embeddings_of(subject, self._head)
        distances = np.linalg.norm(embeddings - embedding, axis=1)
        nearest = np.argsort(distances, kind="stable")[: self.settings.samples_of_a_subject]
        return Candidate(1, subject, float(distances[nearest].mean()), sample_ids[nearest[0]])
