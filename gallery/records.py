"""What the gallery answers with: small frozen records, and nothing of the database in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One enrolled walk of a subject."""

    sample_id: str
    """32 hex digits made from the subject and the walk itself: the same walk has the same id."""
    subject: str
    created_at: datetime
    """When it was enrolled, UTC."""
    frames: int
    """Silhouettes kept for it; 0 when it was enrolled by its embedding alone."""
    metadata: Mapping[str, Any]
    model_id: str
    """The model whose embedding of this sample is live."""


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment did."""

    sample: Sample
    created_subject: bool
    duplicate: bool
    """This very walk of this subject was there already; `sample` is the first one, unchanged."""


@dataclass(frozen=True)
class Candidate:
    """A subject in an answer, with its nearest sample."""

    rank: int
    """1 is the nearest subject."""
    subject: str
    distance: float
    """Euclidean distance of the nearest sample's embedding, smaller is nearer."""
    sample_id: str


@dataclass(frozen=True)
class SubjectSummary:
    """A subject in a list."""

    subject: str
    samples: int
    created_at: datetime


@dataclass(frozen=True)
class SubjectDetail:
    """A subject with all its samples, oldest first."""

    subject: str
    created_at: datetime
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Erasure:
    """What was erased: this many samples of this subject."""

    subject: str
    samples: int


@dataclass(frozen=True)
class GalleryStatus:
    """How a gallery stands."""

    name: str
    generation: int
    """The live generation; it grows when a rebuild is switched to."""
    model_id: str
    """The model of the live generation; it may not be the one the gallery was opened for."""
    embedding_length: int
    """Numbers in an embedding of the live generation."""
    subjects: int
    samples: int
    indexed: int
    """Samples that a search can find."""
    in_sync: bool
    """The index was compared with the store: same generation, same last change, same counts."""
