"""Who is enrolled, with what consent, and the receipt of an erasure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field, field_validator

import gallery
from service.schemas.body import SAMPLE_ID, Body

_CREATED = "When it was enrolled. Null if the store cannot read it any more."
_SUBJECT = "Your id of the person."
_NEXT = "Send it as `after` to get the next page. Null on the last page."


class Subject(Body):
    """An enrolled person, in a list."""

    subject: str = Field(examples=["p-017"], description=_SUBJECT)
    samples: int = Field(examples=[2], description="Enrolled walks of this person.")
    created_at: datetime | None = Field(examples=["2026-03-01T08:00:00Z"], description=_CREATED)


class Subjects(Body):
    """A page of the enrolled people."""

    subjects: tuple[Subject, ...] = Field(description="In the order of their ids.")
    next: str | None = Field(examples=[None], description=_NEXT)


class Consent(Body):
    """Why a subject or a sample may be in the gallery.

    It is recorded as it comes. Nothing is erased by itself when it expires.
    """

    basis: str = Field(
        examples=["consent"],
        min_length=1,
        max_length=64,
        description="The reason in your words: `consent`, `contract`, a section of a law.",
    )
    reference: str | None = Field(
        None,
        examples=["form 2026-017"],
        max_length=256,
        description="Where the record itself is kept, for instance the number of a form.",
    )
    expires: datetime | None = Field(
        None,
        description="When it ends: ISO 8601 with a time zone. Null if it does not.",
    )

    @field_validator("expires", mode="before")
    @classmethod
    def _as_iso_8601(cls, value: object) -> object:
        if isinstance(value, int | float):
            raise ValueError("expected a time as in ISO 8601, got a number")
        # Pydantic would take 20270101 for seconds since 1970.
        return _moment(value) if isinstance(value, str) else value

    def of_gallery(self) -> gallery.Consent:
        """Make the gallery's record, which checks it."""
        return gallery.Consent(self.basis, self.reference, self.expires)


class ConsentWanted(Consent):
    """A consent to record."""

    # A mistyped `expires` would otherwise be a consent that never ends.
    model_config = ConfigDict(extra="forbid")


class Sample(Body):
    """One enrolled walk."""

    sample_id: str = Field(examples=[SAMPLE_ID], description="Id of the sample.")
    created_at: datetime | None = Field(examples=["2026-03-01T08:00:00Z"], description=_CREATED)
    frames: int = Field(examples=[60], description="Silhouettes stored for it; 0 if none are.")
    metadata: dict[str, Any] = Field(
        examples=[{"view": "090", "condition": "nm-01"}],
        description="The JSON object that came with the enrolment.",
    )
    model_id: str = Field(
        examples=["metagait-demo-0123456789ab"], description="The model that embedded it."
    )
    captured_at: datetime | None = Field(
        None, description="When the walk was recorded. Null if it was not said."
    )
    consent: Consent | None = Field(
        None, description="Consent to this sample. The subject may have one as well."
    )
    damaged: tuple[str, ...] = Field(
        (),
        description="Which of `created_at`, `captured_at` and `metadata` the store cannot read any "
        "more. They are null or empty here. `consent` if it is the consent's `expires`.",
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
    """An enrolled person with a page of the samples."""

    subject: str = Field(examples=["p-017"], description=_SUBJECT)
    created_at: datetime | None = Field(examples=["2026-03-01T08:00:00Z"], description=_CREATED)
    consent: Consent | None = Field(None, description="Consent to all samples of this person.")
    damaged: tuple[str, ...] = Field(
        (),
        description="Which of `created_at` and `consent` (its `expires`) the store cannot read any "
        "more. They are null here.",
    )
    samples: tuple[Sample, ...] = Field(description="Oldest first.")
    next: str | None = Field(None, description=_NEXT)


class Proof(Body):
    """What was looked for after an erasure, and how much of it was still there.

    `rows`, `found` and `indexed` are 0 if the erasure is complete.
    """

    checked_at: datetime = Field(description="When it was looked for.")
    rows: int = Field(examples=[0], description="Rows left in any table of the database.")
    searches: int = Field(
        examples=[2],
        description="Searches that were made with the erased embeddings. 0 if they could not be "
        "read or no index was open.",
    )
    found: int = Field(
        examples=[0], description="How many of these searches still found an erased sample."
    )
    indexed: int = Field(examples=[0], description="Erased samples left in the index.")
    files: str = Field(
        examples=["overwritten"],
        description="`overwritten`: with zeros, in the database's files. `pending`: some may be "
        "left, until the next write or start if something still reads a file, or until `metagait "
        "scrub` if the file is large. `vacuumed`: by a PostgreSQL server.",
    )


class Receipt(Body):
    """What was erased, and how that was checked. It names nobody.

    It is kept, and can be read again by its id.
    """

    receipt_id: str = Field(
        examples=["c0ffee00c0ffee00c0ffee00c0ffee00"], description="Id of the receipt."
    )
    gallery: str = Field(examples=["main"], description="The gallery that was erased from.")
    subject_digest: str = Field(
        description="SHA-256 of the salt followed by the subject id, in hex. Only somebody with "
        "the salt can show whose receipt it is."
    )
    erased_at: datetime = Field(description="When it was erased.")
    subject_erased: bool = Field(description="False if the subject has other samples left.")
    samples: int = Field(examples=[2], description="Samples that were erased.")
    silhouettes: int = Field(
        examples=[2], description="Samples of which silhouettes were erased as well."
    )
    embeddings: dict[str, int] = Field(
        examples=[{"1": 2}], description="Embeddings that were erased, by generation."
    )
    consents: int = Field(examples=[0], description="Consents that were erased.")
    key_destroyed: bool = Field(
        description="True if the subject was encrypted and its key was destroyed."
    )
    proof: Proof | None = Field(
        description="Null if the check could not be made: the service stopped before it, or the "
        "index or the store did not answer. The erasure is done all the same."
    )


class Erased(Body):
    """What was erased, with the receipt. Keep this answer: the salt is told only here."""

    subject: str = Field(examples=["p-017"], description=_SUBJECT)
    samples: int = Field(examples=[2], description="Samples that were erased.")
    salt: str = Field(
        description="Told this once and stored nowhere. With it you can show that the receipt's "
        "`subject_digest` is of this subject."
    )
    receipt: Receipt


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError("expected a time as in ISO 8601, got another text") from error


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Copy metadata out of the gallery's read-only record."""
    return dict(metadata)
