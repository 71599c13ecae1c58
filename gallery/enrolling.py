"""What is seen to before a sample is written: its form, and whom it is nearest to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.checks import (
    check_embedding,
    check_particulars,
    check_silhouettes,
    metadata_text,
)
from gallery.consents import written
from gallery.current import Current
from gallery.errors import EnrolmentConflict
from gallery.packing import pack_silhouettes, sample_id
from gallery.records import Conflict, Consent
from gallery.settings import OFF, REFUSE
from gallery.store import NewSample, Store


def new_sample(
    subject: str,
    embedding: NDArray[np.float32],
    embedding_length: int,
    *,
    silhouettes: NDArray[np.uint8] | None,
    metadata: Mapping[str, Any] | None,
    captured_at: datetime | None,
    consent: Consent | None,
    actor: str,
) -> NewSample:
    """Check and pack what `Gallery.enroll` was given.

    Raises:
        InvalidInput: one of the arguments is not as `Gallery.enroll` wants it.

    """
    check_particulars(subject, metadata=metadata, captured_at=captured_at, consent=consent)
    check_embedding(embedding, embedding_length)
    if silhouettes is not None:
        check_silhouettes(silhouettes)
    return NewSample(
        sample_id=sample_id(subject, embedding if silhouettes is None else silhouettes),
        subject=subject,
        embedding=embedding,
        silhouettes=None if silhouettes is None else pack_silhouettes(silhouettes),
        metadata=metadata_text(metadata),
        captured_at=None if captured_at is None else written(captured_at),
        consent=consent,
        actor=actor,
    )


def find_conflict(
    current: Current, store: Store, subject: str, embedding: NDArray[np.float32]
) -> Conflict | None:
    """See whether a new sample is nearer to somebody else than to its own subject.

    What others enrol between this look and the write is not seen.

    Raises:
        EnrolmentConflict: it is, and the gallery's settings refuse that.

    """
    with current.still() as head:
        setting = current.settings.conflict
        if setting == OFF or not current.knows(subject):
            return None
        if head is None or head.model != current.model:
            return None
        nearest = current.nearest(embedding, 1)[0]
    if nearest.subject == subject:
        return None
    _, own = store.embeddings_of(subject, head)
    own_distance = float(np.linalg.norm(own - embedding, axis=1).min())
    if own_distance <= nearest.distance:
        return None
    if setting == REFUSE:
        raise EnrolmentConflict(
            f"expected a walk of {subject!r} nearest to their own samples, at "
            f"{own_distance:.4g}, got one nearer to {nearest.subject!r}, at "
            f"{nearest.distance:.4g}, and this gallery refuses such"
        )
    return Conflict(nearest.subject, nearest.distance, own_distance)
