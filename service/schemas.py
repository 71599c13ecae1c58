"""The bodies of answers, with the examples that the API documentation shows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

import gallery
from model.quality import Fault
from model.silhouettes import FrameReport
from service import decision
from service.decision import Answer, Basis, Reason
from service.jobs import Watched
from service.problems import Problem

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


class Quality(_Body):
    """How good the walk is for recognition: the measures, and the faults they amount to."""

    faults: tuple[Fault, ...] = Field(examples=[[]], description="none for a good walk")
    empty: float = Field(examples=[0.03], description="share of the frames without a body")
    truncated: float = Field(examples=[0.0], description="share of bodies cut by the picture")
    rows: float = Field(examples=[118], description="median height of the body in pixels")
    other_bodies: float = Field(examples=[0.0], description="share of frames with a second body")
    grey: float = Field(examples=[0.02], description="share of pixels that are neither, median")
    duplicates: float = Field(examples=[0.0], description="share of frames equal to the former")
    rhythm: float | None = Field(
        examples=[0.71], description="of the legs, at most 1; null for a walk too short to tell"
    )


class Windows(_Body):
    """How the windows of a long probe agreed with the one that speaks for it."""

    count: int = Field(examples=[5])
    frames: int = Field(examples=[200], description="of one window")
    same_nearest: int = Field(examples=[5], description="windows with the same nearest subject")
    same_decision: int = Field(examples=[4], description="windows with the same decision")


class Model(_Body):
    """The model that made the embedding."""

    model_id: str = Field(examples=["metagait-demo-0123456789ab"])


class Gallery(_Body):
    """The gallery that was asked."""

    name: str = Field(examples=["main"])
    generation: int = Field(examples=[1], description="grows when the gallery is re-embedded")
    subjects: int = Field(examples=[20])
    samples: int = Field(examples=[40])


class Interval(_Body):
    """A 95 % interval."""

    low: float = Field(examples=[0.004])
    high: float = Field(examples=[0.018])


class Threshold(_Body):
    """The threshold in force, and what stands behind it; FPIR and FNIR as in ISO/IEC 19795-1."""

    distance: float = Field(examples=[11.5], description="at or below it a candidate is a match")
    inconclusive_to: float = Field(
        examples=[12.1], description="above `distance` and up to here the answer is inconclusive"
    )
    basis: Basis = Field(
        examples=["calibration"], description="this gallery's calibration, or the model's default"
    )
    target_fpir: float = Field(examples=[0.01], description="how often a stranger may be named")
    measured_fpir: Interval | None = Field(
        description="how often one was, in searches of this gallery; null when not calibrated"
    )
    fnir: float | None = Field(
        examples=[0.08], description="how often an enrolled person was missed"
    )
    calibrated_at_size: int = Field(examples=[320], description="subjects when it was measured")
    gallery_size: int = Field(examples=[340], description="subjects now")
    searches: int = Field(examples=[1280], description="searches by strangers behind it")
    source: str = Field(examples=["this gallery's own samples, 2026-01-05T10:00:00.000+00:00"])
    valid: bool = Field(
        examples=[True], description="whether it was measured with this gallery and still holds"
    )
    note: str = Field(examples=["measured with this gallery"], description="why it is in force")

    @classmethod
    def of(cls, threshold: decision.Threshold | None) -> Self | None:
        """State the threshold in force."""
        return None if threshold is None else cls.model_validate(threshold)


class ViewRelation(_Body):
    """How a candidate's sample was seen, against the probe; angles in degrees."""

    probe: float = Field(examples=[90])
    sample: float = Field(examples=[126])
    difference: float = Field(examples=[36], description="between the two views, 0 to 180")
    nearest_equivalent: float = Field(
        examples=[36],
        description="to the nearest of v, 180 - v, 360 - v, 180 + v: nearly the same outline",
    )
    words: str = Field(examples=["36 degrees apart"])


class Candidate(_Body):
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


class Conflict(_Body):
    """The new sample is nearer to somebody else than to its own subject."""

    subject: str = Field(examples=["p-018"])
    distance: float = Field(examples=[7.9], description="to that subject's nearest sample")
    own_distance: float = Field(examples=[9.4], description="to its own subject's nearest sample")

    @classmethod
    def of(cls, conflict: gallery.Conflict | None) -> Self | None:
        """Report a conflict, if there is one."""
        return None if conflict is None else cls.model_validate(conflict)


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
    conflict: Conflict | None = Field(
        None, description="given when the sample is nearer to somebody else"
    )
    frames: Frames
    quality: Quality
    model: Model
    gallery: Gallery
    timings_ms: Timings


class Identified(_Body):
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


class BatchItem(_Body):
    """The answer to one walk of a batch: one of the two."""

    identified: Identified | None
    problem: Problem | None = Field(description="why this walk could not be identified")


class IdentifiedBatch(_Body):
    """The answers to a batch, in the order of its walks."""

    items: tuple[BatchItem, ...]


class Verified(_Body):
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


class Subject(_Body):
    """A subject in a list."""

    subject: str = Field(examples=["p-017"])
    samples: int = Field(examples=[2])
    created_at: datetime = Field(examples=["2026-03-01T08:00:00Z"])


class Subjects(_Body):
    """One page of the subjects, in order of their ids."""

    subjects: tuple[Subject, ...]
    next: str | None = Field(
        examples=[None], description="give it as `after` for the next page; null on the last"
    )


class Consent(_Body):
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

    def of_gallery(self) -> gallery.Consent:
        """Make the gallery's record, which checks it."""
        return gallery.Consent(self.basis, self.reference, self.expires)


class Sample(_Body):
    """One enrolled walk."""

    sample_id: str = Field(examples=[SAMPLE_ID])
    created_at: datetime = Field(examples=["2026-03-01T08:00:00Z"])
    frames: int = Field(examples=[60])
    metadata: dict[str, Any] = Field(examples=[{"view": "090", "condition": "nm-01"}])
    model_id: str = Field(examples=["metagait-demo-0123456789ab"])
    captured_at: datetime | None = Field(None, description="when the walk was recorded")
    consent: Consent | None = Field(None, description="to this sample; see the subject's as well")

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
        )


class SubjectDetail(_Body):
    """A subject with its samples, oldest first."""

    subject: str = Field(examples=["p-017"])
    created_at: datetime = Field(examples=["2026-03-01T08:00:00Z"])
    consent: Consent | None = None
    samples: tuple[Sample, ...]


class Proof(_Body):
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


class Receipt(_Body):
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
    proof: Proof | None = Field(description="null when the service stopped before it had looked")


class Erased(_Body):
    """What was erased for good, with the receipt for it."""

    subject: str = Field(examples=["p-017"])
    samples: int = Field(examples=[2], description="how many samples")
    salt: str = Field(description="told this once: with it the receipt's digest shows whose it is")
    receipt: Receipt


class Picture(_Body):
    """Aligned silhouettes as one picture: frames row by row, `columns` in a row."""

    frames: int = Field(examples=[60])
    height: int = Field(examples=[64], description="of one frame")
    width: int = Field(examples=[44], description="of one frame")
    columns: int = Field(examples=[16])
    png: str = Field(examples=["iVBORw0KGgo="], description="the picture, base64")


class Preview(Picture):
    """A walk as the model will see it, and how good it is."""

    quality: Quality


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
    preprocessing_id: str = Field(examples=["metagait-align-2"])


class UploadLimits(_Body):
    """What one upload may hold."""

    upload_bytes: int = Field(examples=[67108864], description="of one request body")
    frames: int = Field(examples=[1000], description="of a walk")
    min_frames: int = Field(examples=[5], description="with a body; fewer are refused")
    conclusive_frames: int = Field(examples=[13], description="fewer decide nothing")
    frame_pixels: int = Field(examples=[8294400], description="of one frame")
    walk_pixels: int = Field(examples=[640000000], description="of all frames of a walk")


class KeptGallery(Gallery):
    """The gallery, with what it keeps and what that makes impossible."""

    retention: str = Field(examples=["keep"], description="`keep` or `embeddings-only`")
    without_silhouettes: int = Field(
        examples=[0], description="samples that no other model can embed: no rebuild while any"
    )
    encrypted: bool = Field(description="silhouettes and embeddings of new subjects are encrypted")
    plain_subjects: int = Field(examples=[20], description="subjects that are not encrypted")


class Index(_Body):
    """What searches the gallery."""

    kind: str = Field(examples=["exact"])
    state: str = Field(examples=["compares with every sample in memory"])


class Info(_Body):
    """What runs here."""

    version: str = Field(examples=["0.1.0"])
    provider: str = Field(
        examples=["CPUExecutionProvider"], description="the execution provider that really runs"
    )
    model: ModelFacts
    threshold: Threshold | None
    gallery: KeptGallery
    index: Index
    limits: UploadLimits


class GallerySettings(_Body):
    """What an operator chose for a gallery."""

    aggregation: str = Field(examples=["nearest"], description="nearest or mean")
    nearest_samples: int = Field(examples=[3], description="samples that `mean` takes")
    conflict: str = Field(examples=["report"], description="report, refuse or off")
    retention: str = Field(examples=["keep"], description="keep or embeddings-only")
    index_kind: str = Field(examples=["exact"], description="taken at the next start")


class GalleryChanges(BaseModel):
    """Settings to change; those that are left out stay."""

    model_config = ConfigDict(extra="forbid")

    aggregation: str | None = Field(None, examples=["mean"])
    nearest_samples: int | None = Field(None, examples=[2])
    conflict: str | None = Field(None, examples=["refuse"])
    retention: str | None = Field(None, examples=["keep"])
    index_kind: str | None = Field(None, examples=["exact"])


class CalibrationWanted(BaseModel):
    """What a calibration is asked to promise."""

    model_config = ConfigDict(extra="forbid")

    # Below a millionth no gallery could ever promise it, and the arithmetic overflows.
    target_fpir: float = Field(0.01, ge=1e-6, lt=1, description="how often a stranger may be named")


class Calibration(_Body):
    """Thresholds measured with the gallery's own samples."""

    created_at: datetime
    target_fpir: float = Field(examples=[0.01])
    threshold: float = Field(examples=[11.5])
    threshold_interval: Interval
    inconclusive_to: float = Field(examples=[12.1], description="the threshold at 3 × the target")
    fpir: float = Field(examples=[0.0098])
    fpir_interval: Interval
    fnir: float | None = Field(examples=[0.08])
    fnir_interval: Interval | None
    subjects: int = Field(examples=[320])
    samples: int = Field(examples=[1300])
    independent_searches: int = Field(examples=[320], description="subjects searched for")
    nonmated_searches: int = Field(examples=[1280])
    mated_searches: int = Field(examples=[1280])
    aggregation: str = Field(examples=["nearest"])


class GalleryDetail(_Body):
    """A gallery, how it is set, and its calibration."""

    gallery: Gallery
    model: Model
    settings: GallerySettings
    calibration: Calibration | None


class RebuildWanted(BaseModel):
    """Which model to rebuild with."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        max_length=300,
        examples=["metagait-demo-0123456789ab"],
        description="the id of a model that the gallery had, or the name of an .onnx file in the "
        "folder METAGAIT_MODELS; without it the model of METAGAIT_MODEL",
    )


class Job(_Body):
    """A rebuild that was asked for."""

    job_id: str = Field(examples=["3f1c9a0d7be24455"])
    kind: str = Field(examples=["rebuild"])
    model_id: str = Field(examples=["metagait-demo-0123456789ab"])
    state: Literal["running", "done", "failed", "cancelled", "interrupted"]
    done: int = Field(examples=[1200], description="samples embedded")
    total: int = Field(examples=[4000])
    eta_s: float | None = Field(examples=[93.5], description="seconds left, where it can be told")
    message: str = Field(examples=[""], description="how it ended")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Show a job."""
        return cls(**vars(watched.job), eta_s=watched.eta_s)


class Jobs(_Body):
    """The latest jobs, the last one first."""

    jobs: tuple[Job, ...]


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Copy metadata out of the gallery's read-only record."""
    return dict(metadata)
