"""The bodies of answers, with the examples that the API documentation shows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

import gallery
import model.encoder
from model.silhouettes import FrameReport
from service.decision import Answer, Reason

SAMPLE_ID = "5f0c6a2e9d3b4871a6e0c1d2f3b4a596"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True, protected_namespaces=())


class Frames(_Body):
    """What became of the frames of a walk."""

    received: int = Field(examples=[62])
    used: int = Field(examples=[60])
    dropped: dict[str, int] = Field(examples=[{"empty": 2}], description="frames by reason")

    @classmethod
    def of(cls, report: FrameReport) -> Self:
        """Report on an aligned walk."""
        return cls(received=report.received, used=report.used, dropped=dict(report.dropped))


class Model(_Body):
    """The model that made the embedding."""

    model_id: str = Field(examples=["metagait-demo-0123456789ab"])


class Gallery(_Body):
    """The gallery that was asked."""

    name: str = Field(examples=["main"])
    generation: int = Field(examples=[1], description="grows when the gallery is re-embedded")
    subjects: int = Field(examples=[20])
    samples: int = Field(examples=[40])


class Threshold(_Body):
    """The distance at or below which a candidate is a match, and what was measured with it."""

    distance: float = Field(examples=[11.5])
    target_fpir: float = Field(examples=[0.01], description="how often a stranger may be named")
    fnir: float = Field(examples=[0.08], description="how often an enrolled person was missed")
    gallery_subjects: int = Field(examples=[50], description="subjects when it was measured")
    searches: int = Field(examples=[3000], description="searches by strangers behind it")
    source: str = Field(examples=["50 synthetic validation walkers"])
    holds: bool = Field(description="false once the gallery has more subjects than that")

    @classmethod
    def of(cls, threshold: model.encoder.Threshold | None, subjects: int) -> Self | None:
        """State the threshold of a model for a gallery of `subjects`."""
        if threshold is None:
            return None
        # More subjects are more chances to take a stranger for one of them.
        holds = subjects <= threshold.gallery_subjects
        return cls(
            distance=threshold.distance,
            target_fpir=threshold.target_fpir,
            fnir=threshold.fnir,
            gallery_subjects=threshold.gallery_subjects,
            searches=threshold.searches,
            source=threshold.source,
            holds=holds,
        )


class Candidate(_Body):
    """A subject, by its nearest sample; distances are Euclidean, smaller is nearer."""

    rank: int = Field(examples=[1])
    subject: str = Field(examples=["p-017"])
    distance: float = Field(examples=[8.31])
    sample_id: str = Field(examples=[SAMPLE_ID])


class Timings(_Body):
    """Milliseconds spent on each step; `queue` is waiting for the encoder."""

    decode: float = Field(examples=[9.1])
    align: float = Field(examples=[4.8])
    queue: float = Field(examples=[0.2])
    encode: float = Field(examples=[61.0])
    search: float = Field(examples=[0.9])
    total: float = Field(examples=[76.4])


class Enrolled(_Body):
    """Answer to an enrolment; the sample is durable when it is given."""

    subject: str = Field(examples=["p-017"])
    sample_id: str = Field(examples=[SAMPLE_ID])
    duplicate: bool = Field(
        examples=[False], description="this very walk of this subject was there already"
    )
    frames: Frames
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Identified(_Body):
    """Answer to an identification."""

    decision: Answer = Field(examples=["match"])
    reasons: tuple[Reason, ...] = Field(examples=[[]], description="why it is inconclusive")
    candidates: tuple[Candidate, ...]
    threshold: Threshold | None = Field(description="null when the model carries none")
    frames: Frames
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Verified(_Body):
    """Answer to a verification: is this walk the subject's?"""

    decision: Answer = Field(examples=["match"])
    reasons: tuple[Reason, ...] = Field(examples=[[]])
    subject: str = Field(examples=["p-017"])
    distance: float = Field(examples=[8.31], description="to the subject's nearest sample")
    sample_id: str = Field(examples=[SAMPLE_ID])
    threshold: Threshold | None
    frames: Frames
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Subject(_Body):
    """A subject in a list."""

    subject: str = Field(examples=["p-017"])
    samples: int = Field(examples=[2])
    created_at: datetime


class Subjects(_Body):
    """One page of the subjects, in order of their ids."""

    subjects: tuple[Subject, ...]
    next: str | None = Field(
        examples=[None], description="give it as `after` for the next page; null on the last"
    )


class Sample(_Body):
    """One enrolled walk."""

    sample_id: str = Field(examples=[SAMPLE_ID])
    created_at: datetime
    frames: int = Field(examples=[60])
    metadata: dict[str, Any] = Field(examples=[{"view": "090", "condition": "nm-01"}])
    model_id: str = Field(examples=["metagait-demo-0123456789ab"])

    @classmethod
    def of(cls, sample: gallery.Sample) -> Self:
        """Describe a sample of the gallery."""
        return cls(
            sample_id=sample.sample_id,
            created_at=sample.created_at,
            frames=sample.frames,
            metadata=plain(sample.metadata),
            model_id=sample.model_id,
        )


class SubjectDetail(_Body):
    """A subject with its samples, oldest first."""

    subject: str = Field(examples=["p-017"])
    created_at: datetime
    samples: tuple[Sample, ...]


class Erased(_Body):
    """What was erased for good."""

    subject: str = Field(examples=["p-017"])
    samples: int = Field(examples=[2], description="how many samples")


class Picture(_Body):
    """Aligned silhouettes as one picture: frames row by row, `columns` in a row."""

    frames: int = Field(examples=[60])
    height: int = Field(examples=[64], description="of one frame")
    width: int = Field(examples=[44], description="of one frame")
    columns: int = Field(examples=[16])
    png: str = Field(description="the picture, base64")


class Alive(_Body):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(_Body):
    """Walks can be enrolled and identified; the index equals the store."""

    status: Literal["ready"] = "ready"
    gallery: Gallery


class ModelFacts(_Body):
    """What the model file says about itself."""

    model_id: str = Field(examples=["metagait-demo-0123456789ab"])
    name: str = Field(examples=["metagait-demo"])
    height: int = Field(examples=[64])
    width: int = Field(examples=[44])
    parts: int = Field(examples=[64])
    dimensions: int = Field(examples=[128])
    preprocessing_id: str = Field(examples=["gaitset-align-1"])


class UploadLimits(_Body):
    """What one upload may hold."""

    upload_bytes: int
    frames: int
    min_frames: int
    conclusive_frames: int
    frame_pixels: int
    walk_pixels: int


class Info(_Body):
    """What runs here."""

    version: str = Field(examples=["0.1.0"])
    provider: str = Field(
        examples=["CPUExecutionProvider"], description="the execution provider that really runs"
    )
    model: ModelFacts
    threshold: Threshold | None
    gallery: Gallery
    limits: UploadLimits


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Copy metadata out of the gallery's read-only record."""
    return dict(metadata)
