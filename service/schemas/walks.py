"""Answers to a walk: enrolment, identification, verification, and how good it is."""

from typing import Self

from pydantic import Field

import gallery
from model.quality import Fault
from model.silhouettes import FrameReport
from service.decision import Answer, Reason
from service.problems import Problem
from service.schemas.body import SAMPLE_ID, Body
from service.schemas.galleries import Gallery, Model, Threshold


class Frames(Body):
    """What became of the frames of a walk."""

    received: int = Field(examples=[62])
    used: int = Field(examples=[60])
    dropped: dict[str, int] = Field(examples=[{"empty": 2}], description="frames by reason")

    @classmethod
    def of(cls, report: FrameReport) -> Self:
        """Report on an aligned walk."""
        return cls(received=report.received, used=report.used, dropped=dict(report.dropped))


class Quality(Body):
    """How good the walk is for recognition: the measures, and the faults they amount to."""

    faults: tuple[Fault, ...] = Field(examples=[[]], description="none for a good walk")
    empty: float = Field(examples=[0.03], description="share of the frames without a body")
    truncated: float = Field(examples=[0.0], description="share of bodies cut by the picture")
    rows: float = Field(examples=[118], description="median height of the body in pixels")
    other_bodies: float = Field(examples=[0.0], description="share of frames with a second body")
    grey: float = Field(examples=[0.02], description="share of pixels that are neither, median")
    duplicates: float = Field(examples=[0.0], description="share of frames equal to the former")
    rhythm: float | None = Field(
        examples=[0.71],
        description="of the legs, about 1 where every stride is alike; null for a walk too short "
        "to tell",
    )


class Windows(Body):
    """How the windows of a long probe agreed with the one that speaks for it."""

    count: int = Field(examples=[5])
    frames: int = Field(examples=[200], description="of one window")
    same_nearest: int = Field(examples=[5], description="windows with the same nearest subject")
    same_decision: int = Field(examples=[4], description="windows with the same decision")


class ViewRelation(Body):
    """How a candidate's sample was seen, against the probe; angles in degrees."""

    probe: float = Field(examples=[90])
    sample: float = Field(examples=[126])
    difference: float = Field(examples=[36], description="between the two views, 0 to 180")
    nearest_equivalent: float = Field(
        examples=[36],
        description="to the nearest of v, 180 - v, 360 - v, 180 + v: nearly the same outline",
    )
    words: str = Field(examples=["36 degrees apart"])


class Candidate(Body):
    """A subject, with its nearest sample; distances are Euclidean, smaller is nearer."""

    rank: int = Field(examples=[1])
    subject: str = Field(examples=["p-017"])
    distance: float = Field(
        examples=[8.31], description="of its nearest samples, as the gallery's `aggregation` says"
    )
    sample_id: str = Field(examples=[SAMPLE_ID])
    view: ViewRelation | None = Field(
        None, description="when the probe's `view` and the sample's are known"
    )


class Conflict(Body):
    """The new sample is nearer to somebody else than to its own subject."""

    subject: str = Field(examples=["p-018"])
    distance: float = Field(examples=[7.9], description="to that subject's nearest sample")
    own_distance: float = Field(examples=[9.4], description="to its own subject's nearest sample")

    @classmethod
    def of(cls, conflict: gallery.Conflict | None) -> Self | None:
        """Report a conflict, if there is one."""
        return None if conflict is None else cls.model_validate(conflict)


class Timings(Body):
    """Milliseconds spent on each step; `queue` is waiting for the encoder."""

    decode: float = Field(examples=[9.1])
    align: float = Field(examples=[4.8])
    queue: float = Field(examples=[0.2])
    encode: float = Field(examples=[61.0])
    search: float = Field(examples=[0.9])
    total: float = Field(examples=[76.4])


class Enrolled(Body):
    """Answer to an enrolment; the sample is durable when it is given."""

    subject: str = Field(examples=["p-017"])
    sample_id: str = Field(examples=[SAMPLE_ID])
    duplicate: bool = Field(
        examples=[False], description="this very walk of this subject was there already"
    )
    conflict: Conflict | None = Field(
        None, description="given when the sample is nearer to somebody else"
    )
    frames: Frames
    quality: Quality
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Identified(Body):
    """Answer to an identification."""

    decision: Answer = Field(examples=["match"])
    reasons: tuple[Reason, ...] = Field(examples=[[]], description="why it is inconclusive")
    candidates: tuple[Candidate, ...]
    margin: float | None = Field(
        examples=[1.7], description="from the nearest subject's distance to the next one's"
    )
    threshold: Threshold | None = Field(
        description="null when nothing was measured and the model carries none"
    )
    frames: Frames
    quality: Quality
    windows: Windows | None = Field(description="null for a walk of one window")
    model: Model
    gallery: Gallery
    timings_ms: Timings


class BatchItem(Body):
    """The answer to one walk of a batch: one of the two."""

    identified: Identified | None
    problem: Problem | None = Field(description="why this walk could not be identified")


class IdentifiedBatch(Body):
    """The answers to a batch, in the order of its walks."""

    items: tuple[BatchItem, ...]

    @property
    def may_be_asked_again(self) -> bool:
        """Whether a walk failed that might not the next time; it is no part of the body."""
        return any(item.problem and item.problem.status >= 500 for item in self.items)


class Verified(Body):
    """Answer to a verification: is this walk the subject's?"""

    decision: Answer = Field(examples=["match"])
    reasons: tuple[Reason, ...] = Field(examples=[[]])
    subject: str = Field(examples=["p-017"])
    distance: float = Field(examples=[8.31], description="to the subject's nearest samples")
    sample_id: str = Field(examples=[SAMPLE_ID])
    view: ViewRelation | None = Field(
        None, description="when the probe's `view` and the nearest sample's are known"
    )
    threshold: Threshold | None
    frames: Frames
    quality: Quality
    windows: Windows | None = Field(description="null for a walk of one window")
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Picture(Body):
    """Aligned silhouettes as one picture: frames row by row, `columns` in a row."""

    frames: int = Field(examples=[60])
    height: int = Field(examples=[64], description="of one frame")
    width: int = Field(examples=[44], description="of one frame")
    columns: int = Field(examples=[16])
    png: str = Field(examples=["iVBORw0KGgo="], description="the picture, base64")


class Preview(Picture):
    """A walk as the model will see it, and how good it is."""

    quality: Quality
