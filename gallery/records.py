"""The records that the gallery returns: small, frozen, and free of database objects."""

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
    """Where the record itself is kept: a number, or the name of a document."""
    expires: datetime | None = None
    """The moment from which it is no longer valid; None if it does not expire."""
    is_damaged: bool = False
    """It has a moment that can no longer be read; `expires` is None then."""


@dataclass(frozen=True)
class ConsentEntry:
    """A consent in a list, for a subject or for one of its samples."""

    subject: str
    sample_id: str | None
    consent: Consent
    recorded_at: datetime | None
    """None where it cannot be read any more."""


@dataclass(frozen=True)
class Sample:
    """One enrolled walk of a subject."""

    sample_id: str
    """32 hex digits derived from the subject and the walk: the same walk has the same id."""
    subject: str
    created_at: datetime | None
    """When it was enrolled, UTC; None if the stored value is damaged."""
    frames: int
    """Number of stored silhouettes; 0 if only the embedding is stored."""
    metadata: Mapping[str, Any]
    model_id: str
    """The model that made the sample's live embedding."""
    captured_at: datetime | None = None
    """When the walk was recorded, according to whoever enrolled it."""
    consent: Consent | None = None
    """For this sample alone; the subject may have one as well."""
    damaged: tuple[str, ...] = ()
    """Those of `created_at`, `captured_at` and `metadata` that can no longer be read, and are
    therefore None or empty; `consent` if it is the moment at which the consent expires."""


@dataclass(frozen=True)
class Conflict:
    """A new sample that is nearer to another subject than to its own."""

    subject: str
    """The other subject, whose nearest sample is at `distance`."""
    distance: float
    own_distance: float
    """Euclidean distance to the nearest existing sample of its own subject."""


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment did."""

    sample: Sample
    created_subject: bool
    duplicate: bool
    """This very walk of this subject was already enrolled: `sample`, which is unchanged."""
    conflict: Conflict | None = None
    """Checked unless the gallery's setting `conflict` is `off`."""


@dataclass(frozen=True)
class Candidate:
    """A subject in an answer, with its nearest sample."""

    rank: int
    """1 is the nearest subject."""
    subject: str
    distance: float
    """Euclidean, smaller is nearer: to the nearest sample, or the mean over the nearest few."""
    sample_id: str
    """The nearest sample."""


@dataclass(frozen=True)
class SubjectSummary:
    """A subject in a list."""

    subject: str
    samples: int
    created_at: datetime | None
    """None if it can no longer be read."""


@dataclass(frozen=True)
class FoundSubjects:
    """A page of the subjects found by a part of their id."""

    subjects: tuple[SubjectSummary, ...]
    next: str | None
    """The id behind which to look on; None if everybody was looked at."""


@dataclass(frozen=True)
class SubjectDetail:
    """A subject with its samples, or a page of them, oldest first."""

    subject: str
    created_at: datetime | None
    """None if it can no longer be read."""
    samples: tuple[Sample, ...]
    consent: Consent | None = None
    damaged: tuple[str, ...] = ()
    """Which of `created_at` and `consent` cannot be read any more, as of a sample."""


@dataclass(frozen=True)
class Proof:
    """What was checked after an erasure: `rows`, `found` and `indexed` should all be 0."""

    checked_at: datetime
    rows: int
    """Remaining rows of the erased data: subject, samples, silhouettes, embeddings, consents."""
    searches: int
    """Searches by the erased embeddings. 0 if another model's index answers."""
    found: int
    """How many of these searches still returned something erased."""
    indexed: int
    """Erased samples that are still in the index."""
    files: str
    """`overwritten`: with zeros, in SQLite's file, which was written anew, and its log. `vacuumed`:
    freed by the database server, whose own log and backups are up to its operator. `pending`: some
    may be left, because somebody still reads it, or the file is too large to be written anew in
    passing; see `gallery.wiping`."""


@dataclass(frozen=True)
class Receipt:
    """What an erasure removed and how that was checked; nothing in it leads back to the subject."""

    receipt_id: str
    gallery: str
    subject_digest: str
    """SHA-256 of salt and subject id; only the holder of the salt can prove whose receipt it is."""
    erased_at: datetime
    subject_erased: bool
    """False if one sample was erased and the subject has others."""
    samples: int
    silhouettes: int
    embeddings: Mapping[str, int]
    """Count for each generation."""
    consents: int
    key_destroyed: bool
    """The subject's encryption key was destroyed; false if there was none."""
    proof: Proof | None
    """None if the check after the erasure was not possible: the service was stopped before it, or
    the index or the store did not answer."""


@dataclass(frozen=True)
class Erasure:
    """What was erased: the subject, the number of its samples, and the receipt."""

    subject: str
    samples: int
    salt: str
    """Stored nowhere else: the SHA-256 of it and the subject id is the receipt's digest."""
    receipt: Receipt


@dataclass(frozen=True)
class GallerySize:
    """The generation that answers, and how much of it a search can find."""

    name: str
    generation: int
    subjects: int
    samples: int


@dataclass(frozen=True)
class GalleryStatus:
    """The state of a gallery."""

    name: str
    generation: int
    """The live generation; the number changes when a rebuild switches."""
    model_id: str
    """The live generation's model; it may differ from the one the gallery was opened for."""
    embedding_length: int
    """How many numbers an embedding of the live generation has."""
    subjects: int
    samples: int
    indexed: int
    """Samples that a search can find."""
    damaged: int
    """Samples that no search can find, as their embedding is unreadable; the log names them."""
    retention: str
    """`keep`, or `embeddings-only`: then no other model can ever re-embed the samples."""
    without_silhouettes: int
    """Samples that no other model can embed; while there are any, a rebuild is refused."""
    encrypted: bool
    """Silhouettes and embeddings of new subjects are encrypted."""
    plain_subjects: int
    """Subjects whose silhouettes and embeddings are not encrypted."""
    index_kind: str
    """The search engine in use."""
    index_state: str
    """Human-readable description of how it currently searches."""
    in_sync: bool
    """The index agrees with the store: same generation, same last change, and, apart from damaged
    samples, same counts."""
