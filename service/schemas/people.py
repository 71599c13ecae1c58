"""Who is enrolled, with what consent, and the receipt of an erasure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import Field, field_validator

import gallery
from service.schemas.body import SAMPLE_ID, Body

_CREATED = "null where the store cannot read it any more"


class Subject(Body):
    """A subject in a list."""

    subject: str = Field(examples=["p-017"])
    samples: int = Field(examples=[2])
    created_at: datetime | None = Field(examples=["2026-03-01T08:00:00Z"], description=_CREATED)


class Subjects(Body):
    """One page of the subjects, in order of their ids."""

    subjects: tuple[Subject, ...]
    next: str | None = Field(
        examples=[None], description="give it as `after` for the next page; null on the last"
    )


class Consent(Body):
    """Why a subject, or a sample, may be in the gallery."""

    basis: str = Field(
        examples=["consent"], min_length=1, max_length=64, description="in the operator's words"
    )
    reference: str | None = Field(
        None, examples=["form 2026-017"], max_length=256, description="where the record is kept"
    )
    expires: datetime | None = Field(
        None, description="from when on it does not hold; with a time zone"
    )

    @field_validator("expires", mode="before")
    @classmethod
    def _no_number(cls, value: object) -> object:
        if isinstance(value, int | float):
            raise ValueError("expected a time after ISO 8601, got a number")
        return value

    def of_gallery(self) -> gallery.Consent:
        """Make the gallery's record, which checks it."""
        return gallery.Consent(self.basis, self.reference, self.expires)


class Sample(Body):
    """One enrolled walk."""

    sample_id: str = Field(examples=[SAMPLE_ID])
    created_at: datetime | None = Field(examples=["2026-03-01T08:00:00Z"], description=_CREATED)
    frames: int = Field(examples=[60])
    metadata: dict[str, Any] = Field(examples=[{"view": "090", "condition": "nm-01"}])
    model_id: str = Field(examples=["metagait-demo-0123456789ab"])
    captured_at: datetime | None = Field(None, description="when the walk was recorded")
    consent: Consent | None = Field(None, description="to this sample; see the subject's as well")
    damaged: tuple[str, ...] = Field(
        (),
        description="which of `created_at`, `captured_at` and `metadata` the store cannot read any "
        "more, so that they are null or empty",
    )

    @classmethod
    def of(cls, sample: gallery.Sample) -> Self:
        """Describe a sample of the gallery."""
        return cls(
            sample_id=sample.sample_id,
            created_at=sample.created_at,
            frames=sample.frames,
            metadata=plain(sample.metadata),
            model_id=sample.model_id,
            captured_at=sample.captured_at,
            consent=None if sample.consent is None else Consent.model_validate(sample.consent),
            damaged=sample.damaged,
        )


class SubjectDetail(Body):
    """A subject with one page of its samples, oldest first."""

    subject: str = Field(examples=["p-017"])
    created_at: datetime | None = Field(examples=["2026-03-01T08:00:00Z"], description=_CREATED)
    consent: Consent | None = None
    samples: tuple[Sample, ...]
    next: str | None = Field(
        None, description="give it as `after` for the next page; null on the last"
    )


class Proof(Body):
    """What was looked for after an erasure, and how much of it was still there: nothing."""

    checked_at: datetime
    rows: int = Field(examples=[0], description="rows of the erased left in any table")
    searches: int = Field(examples=[2], description="searches by the erased embeddings themselves")
    found: int = Field(examples=[0], description="of these, how many still returned the erased")
    indexed: int = Field(examples=[0], description="samples of the erased left in the index")
    files: str = Field(
        examples=["overwritten"],
        description="`overwritten`, `pending` while somebody reads the log, or `vacuumed` by a "
        "database server",
    )


class Receipt(Body):
    """What an erasure took away, and how it was checked; it names nobody."""

    receipt_id: str = Field(examples=["c0ffee00c0ffee00c0ffee00c0ffee00"])
    gallery: str = Field(examples=["main"])
    subject_digest: str = Field(description="SHA-256 of salt and subject id, hex")
    erased_at: datetime
    subject_erased: bool = Field(description="false when the subject has other samples left")
    samples: int = Field(examples=[2])
    silhouettes: int = Field(examples=[2])
    embeddings: dict[str, int] = Field(examples=[{"1": 2}], description="by generation")
    consents: int = Field(examples=[0])
    key_destroyed: bool = Field(description="the subject's key, where it was encrypted")
    proof: Proof | None = Field(
        description="null when nobody could look: the service stopped, or the index or the store "
        "did not answer"
    )


class Erased(Body):
    """What was erased for good, with the receipt for it."""

    subject: str = Field(examples=["p-017"])
    samples: int = Field(examples=[2], description="how many samples")
    salt: str = Field(description="told this once: with it the receipt's digest shows whose it is")
    receipt: Receipt


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Copy metadata out of the gallery's read-only record."""
    return dict(metadata)
