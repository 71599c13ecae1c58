"""What the gallery answers with: small frozen records, and nothing of the database in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Consent:
    """Why a subject, or a sample, may be in the gallery."""

    basis: str
    """In the operator's words: `consent`, `contract`, a section of a law."""
    reference: str | None = None
    """Where the record itself is kept: a number, a document's name."""
    expires: datetime | None = None
    """From when on it does not hold any more; None when it says no such moment."""


@dataclass(frozen=True)
class ConsentEntry:
    """A consent in a list: of a subject, or of one sample of it."""

    subject: str
    sample_id: str | None
    consent: Consent
    recorded_at: datetime


@dataclass(frozen=True)
class Sample:
    """One enrolled walk of a subject."""

    sample_id: str
    """32 hex digits made from the subject and the walk itself: the same walk has the same id."""
    subject: str
    created_at: datetime | None
    """When it was enrolled, UTC; None where it is damaged."""
    frames: int
    """Silhouettes kept for it; 0 when it was enrolled by its embedding alone."""
    metadata: Mapping[str, Any]
    model_id: str
    """The model whose embedding of this sample is live."""
    captured_at: datetime | None = None
    """When the walk was recorded, as its giver said."""
    consent: Consent | None = None
    """To this very sample; the subject may have one as well."""
    damaged: tuple[str, ...] = ()
    """Which of `created_at`, `captured_at` and `metadata` cannot be read any more, so that they are
    None or empty."""


@dataclass(frozen=True)
class Conflict:
    """A new sample that is nearer to somebody else than to its own subject."""

    subject: str
    """The other one, whose nearest sample is `distance` away."""
    distance: float
    own_distance: float
    """Euclidean distance to the nearest sample that its own subject had."""


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment did."""

    sample: Sample
    created_subject: bool
    duplicate: bool
    """This very walk of this subject was there already; `sample` is the first one, unchanged."""
    conflict: Conflict | None = None
    """Found when the gallery's setting `conflict` is not `off`."""


@dataclass(frozen=True)
class Candidate:
    """A subject in an answer, with its nearest sample."""

    rank: int
    """1 is the nearest subject."""
    subject: str
    distance: float
    """Euclidean, smaller is nearer: of the nearest sample, or the mean of the nearest few."""
    sample_id: str
    """The nearest sample."""


@dataclass(frozen=True)
class SubjectSummary:
    """A subject in a list."""

    subject: str
    samples: int
    created_at: datetime | None
    """None where it cannot be read any more."""


@dataclass(frozen=True)
class SubjectDetail:
    """A subject with its samples, or a page of them, oldest first."""

    subject: str
    created_at: datetime | None
    """None where it cannot be read any more."""
    samples: tuple[Sample, ...]
    consent: Consent | None = None


@dataclass(frozen=True)
class Proof:
    """What was looked for after an erasure, and how much of it was still there: nothing."""

    checked_at: datetime
    rows: int
    """Rows left of the erased: subject, samples, silhouettes, embeddings, consents."""
    searches: int
    """Searches by the subject's own embeddings. 0 where another model's index answers."""
    found: int
    """Of these, how many still returned what was erased."""
    indexed: int
    """Samples of the erased that are left in the index."""
    files: str
    """`overwritten`: with zeros, in the database file and its log. `vacuumed`: freed by the
    database server, whose own log and backups are its operator's. `pending`: somebody still reads
    the log, which is cut with the next write or start."""


@dataclass(frozen=True)
class Receipt:
    """What an erasure took away and how it was checked; nothing in it leads back to the subject."""

    receipt_id: str
    gallery: str
    subject_digest: str
    """SHA-256 of salt and subject id; only who has the salt, told once, can show whose it is."""
    erased_at: datetime
    subject_erased: bool
    """False when one sample was erased and the subject has others."""
    samples: int
    silhouettes: int
    embeddings: Mapping[str, int]
    """By generation."""
    consents: int
    key_destroyed: bool
    """The key of the subject, where it was encrypted."""
    proof: Proof | None
    """None when the check after the erasure could not be made: the service was stopped before it,
    or the index or the store did not answer."""


@dataclass(frozen=True)
class Erasure:
    """What was erased: this many samples of this subject, with the receipt for it."""

    subject: str
    samples: int
    salt: str
    """Told here and kept nowhere: SHA-256 of it and the subject id is the receipt's digest."""
    receipt: Receipt


@dataclass(frozen=True)
class GallerySize:
    """Which generation answers, and how much of it a search can find."""

    name: str
    generation: int
    subjects: int
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
    damaged: int
    """Samples that none can find, because their embedding cannot be read; the log names them."""
    retention: str
    """`keep`, or `embeddings-only`: then no other model can ever embed its samples."""
    without_silhouettes: int
    """Samples that no other model can embed, so that a rebuild is refused while there are any."""
    encrypted: bool
    """Silhouettes and embeddings of new subjects are encrypted."""
    plain_subjects: int
    """Subjects whose silhouettes and embeddings are not encrypted."""
    index_kind: str
    """Which engine searches."""
    index_state: str
    """How it searches at present, for the person who reads it."""
    in_sync: bool
    """The index was compared with the store: same generation, same last change, same counts but
    for those that are damaged."""
