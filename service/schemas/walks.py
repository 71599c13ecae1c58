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
    """How many frames of the walk were used, and why the others were left out."""

    received: int = Field(examples=[62], description="Frames in the upload.")
    used: int = Field(examples=[60], description="Frames that the model was given.")
    dropped: dict[str, int] = Field(
        examples=[{"empty": 2}],
        description="Frames that were left out, by reason: `empty` (no body in the picture), "
        "`incomplete` (a body much shorter or taller than in the frames around it).",
    )

    @classmethod
    def of(cls, report: FrameReport) -> Self:
        """Report on an aligned walk."""
        return cls(received=report.received, used=report.used, dropped=dict(report.dropped))


class Quality(Body):
    """How well the walk can be recognised: what was measured, and what is wrong with it.

    All shares are from 0 to 1.
    """

    faults: tuple[Fault, ...] = Field(
        examples=[[]], description="What is wrong with the walk; empty if it is good."
    )
    empty: float = Field(
        examples=[0.03],
        description="Share of the frames that show no body, or only part of one.",
    )
    truncated: float = Field(
        examples=[0.0],
        description="Share of the bodies that are cut off by an edge of the picture.",
    )
    rows: float = Field(examples=[118], description="Median height of the body, in pixels.")
    other_bodies: float = Field(
        examples=[0.0], description="Share of the frames with a second body in them."
    )
    grey: float = Field(
        examples=[0.02],
        description="Of the pixels that are not black, the share that is neither body nor "
        "background (grey): the median over the frames. High values mean that the pictures are "
        "not masks.",
    )
    duplicates: float = Field(
        examples=[0.0], description="Share of the frames that equal the frame before."
    )
    rhythm: float | None = Field(
        examples=[0.71],
        description="How regularly the legs open and close: about 1 if every stride is alike. Null "
        "if the walk is too short to tell.",
    )


class Windows(Body):
    """A long walk is searched for in overlapping windows, one of which decides: how far they agree.

    The window that decides is the one whose embedding is nearest to the mean of all of them.
    """

    count: int = Field(examples=[5], description="Windows in the walk.")
    frames: int = Field(examples=[200], description="Frames in one window.")
    same_nearest: int = Field(
        examples=[5],
        description="Windows with the same nearest subject, the deciding one included.",
    )
    same_decision: int = Field(
        examples=[4], description="Windows with the same decision, the deciding one included."
    )


class ViewRelation(Body):
    """From where the walk and the candidate's sample were seen. All angles are in degrees."""

    probe: float = Field(examples=[90], description="View of the walk that was sent.")
    sample: float = Field(examples=[126], description="View of the enrolled sample.")
    difference: float = Field(examples=[36], description="Angle between the two views, 0 to 180.")
    nearest_equivalent: float = Field(
        examples=[36],
        description="Angle from the sample's view to the nearest view that shows nearly the same "
        "outline as the walk's view v: v itself, 180 - v, 360 - v or 180 + v. 0 to 90.",
    )
    words: str = Field(examples=["36 degrees apart"], description="The same in words, for people.")


class Candidate(Body):
    """A subject that the walk may be of, with its nearest sample."""

    rank: int = Field(examples=[1], description="1 is the nearest subject.")
    subject: str = Field(examples=["p-017"], description="Your id of the person.")
    distance: float = Field(
        examples=[8.31],
        description="Euclidean distance, smaller is nearer: to the nearest sample, or the mean of "
        "the nearest few if the gallery's `aggregation` is `mean`.",
    )
    sample_id: str = Field(examples=[SAMPLE_ID], description="The subject's nearest sample.")
    view: ViewRelation | None = Field(
        None,
        description="How the two views relate. Null unless the `metadata` of the walk and of the "
        "sample both name a `view`.",
    )


class Conflict(Body):
    """The new sample is nearer to somebody else than to its own subject.

    Perhaps the wrong name was sent, or one person is enrolled under two names.
    """

    subject: str = Field(examples=["p-018"], description="The other subject.")
    distance: float = Field(
        examples=[7.9], description="Distance to the other subject's nearest sample."
    )
    own_distance: float = Field(
        examples=[9.4], description="Distance to the nearest sample of its own subject."
    )

    @classmethod
    def of(cls, conflict: gallery.Conflict | None) -> Self | None:
        """Report a conflict, if there is one."""
        return None if conflict is None else cls.model_validate(conflict)


class Timings(Body):
    """How long each step took, in milliseconds."""

    decode: float = Field(examples=[9.1], description="Reading the pictures.")
    align: float = Field(examples=[4.8], description="Cropping and centring the body.")
    queue: float = Field(examples=[0.2], description="Waiting for the encoder.")
    encode: float = Field(examples=[61.0], description="Running the model.")
    search: float = Field(examples=[0.9], description="Searching the gallery, or writing to it.")
    total: float = Field(examples=[76.4], description="The whole, from the end of the upload on.")


class Enrolled(Body):
    """The answer to an enrolment. When you get it, the sample is on disk."""

    subject: str = Field(examples=["p-017"], description="Your id of the person, in Unicode's NFC.")
    sample_id: str = Field(
        examples=[SAMPLE_ID],
        description="Id of the sample. The same walk of the same subject always has the same id.",
    )
    duplicate: bool = Field(
        examples=[False],
        description="True if this walk of this subject was enrolled before; no sample is added.",
    )
    conflict: Conflict | None = Field(
        None,
        description="A possible mix-up: somebody else is nearer. Null if there is none, or if the "
        "gallery's setting `conflict` is `off`.",
    )
    frames: Frames
    quality: Quality
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Identified(Body):
    """The answer to an identification: the decision, and the nearest subjects."""

    decision: Answer = Field(
        examples=["match"],
        description="`match`: the first candidate is near enough. `no_match`: nobody is. "
        "`inconclusive`: it cannot be told, for the `reasons` given.",
    )
    reasons: tuple[Reason, ...] = Field(
        examples=[[]], description="Why the decision is `inconclusive`; empty for the other two."
    )
    candidates: tuple[Candidate, ...] = Field(
        description="The nearest subjects, nearest first, whatever the decision is."
    )
    margin: float | None = Field(
        examples=[1.7],
        description="How much farther away the second nearest subject is than the nearest. Null if "
        "there are not two.",
    )
    threshold: Threshold | None = Field(
        description="The threshold that decided. Null if the gallery has no calibration that "
        "holds and the model file has no default."
    )
    frames: Frames
    quality: Quality
    windows: Windows | None = Field(
        description="How far the windows of a long walk agree. Null for a walk of one window."
    )
    model: Model
    gallery: Gallery
    timings_ms: Timings


class BatchItem(Body):
    """The answer to one walk of a batch: `identified` or `problem`; the other is null."""

    identified: Identified | None = Field(description="What `/identify` would answer.")
    problem: Problem | None = Field(description="Why this walk could not be identified.")


class IdentifiedBatch(Body):
    """The answers to a batch."""

    items: tuple[BatchItem, ...] = Field(
        description="One item for each walk, in the order in which they were sent."
    )

    @property
    def may_be_asked_again(self) -> bool:
        """Whether a walk failed that might not the next time; it is no part of the body."""
        # A 409 tells of another model's gallery, which a rebuild or the next look sets right.
        return any(
            item.problem and (item.problem.status >= 500 or item.problem.status == 409)
            for item in self.items
        )


class Verified(Body):
    """The answer to a verification: is this a walk of the subject?"""

    decision: Answer = Field(
        examples=["match"],
        description="`match`: the subject is near enough. `no_match`: it is not. `inconclusive`: "
        "it cannot be told, for the `reasons` given.",
    )
    reasons: tuple[Reason, ...] = Field(
        examples=[[]], description="Why the decision is `inconclusive`; empty for the other two."
    )
    subject: str = Field(
        examples=["p-017"], description="The subject that the walk was compared with."
    )
    distance: float = Field(
        examples=[8.31],
        description="Euclidean distance, smaller is nearer: to the nearest sample, or the mean of "
        "the nearest few if the gallery's `aggregation` is `mean`.",
    )
    sample_id: str = Field(examples=[SAMPLE_ID], description="The subject's nearest sample.")
    view: ViewRelation | None = Field(
        None,
        description="How the two views relate. Null unless the `metadata` of the walk and of the "
        "sample both name a `view`.",
    )
    threshold: Threshold | None = Field(
        description="The threshold that decided. Null if the gallery has no calibration that "
        "holds and the model file has no default."
    )
    frames: Frames
    quality: Quality
    windows: Windows | None = Field(
        description="How far the windows of a long walk agree. Null for a walk of one window."
    )
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Picture(Body):
    """Silhouettes as one picture: the frames from the top left on, `columns` in a row."""

    frames: int = Field(examples=[60], description="Frames in the picture.")
    height: int = Field(examples=[64], description="Height of one frame, in pixels.")
    width: int = Field(examples=[44], description="Width of one frame, in pixels.")
    columns: int = Field(examples=[16], description="Frames in a row; the last row may be shorter.")
    png: str = Field(examples=["iVBORw0KGgo="], description="The picture, a PNG in base64.")


class Preview(Picture):
    """A walk as the model sees it, and how good it is."""

    quality: Quality
