"""Galleries: their size, settings, calibration, and the threshold in force."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from service import decision
from service.decision import Basis
from service.schemas.body import Body


class Model(Body):
    """The model that made the embedding."""

    model_id: str = Field(examples=["metagait-demo-0123456789ab"])


class Gallery(Body):
    """The gallery that was asked."""

    name: str = Field(examples=["main"])
    generation: int = Field(examples=[1], description="grows when the gallery is re-embedded")
    subjects: int = Field(examples=[20])
    samples: int = Field(examples=[40])


class GalleryEntry(Body):
    """A gallery in the list."""

    name: str = Field(examples=["main"])
    subjects: int = Field(examples=[20])
    samples: int = Field(examples=[40])


class Galleries(Body):
    """The galleries that the caller may see."""

    galleries: tuple[GalleryEntry, ...]
    own: str | None = Field(
        examples=["main"],
        description="the one of requests that name none; null where the key is not for it",
    )


class Interval(Body):
    """A 95 % interval."""

    low: float = Field(examples=[0.004])
    high: float = Field(examples=[0.018])


class Threshold(Body):
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


class GallerySettings(Body):
    """What an operator chose for a gallery."""

    aggregation: str = Field(examples=["nearest"], description="nearest or mean")
    nearest_samples: int = Field(examples=[3], description="samples that `mean` takes")
    conflict: str = Field(examples=["report"], description="report, refuse or off")
    retention: str = Field(examples=["keep"], description="keep or embeddings-only")
    index_kind: str = Field(
        examples=["service"],
        description="service (as METAGAIT_INDEX says), exact, compact, gpu or milvus; taken when "
        "the gallery is opened next",
    )


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


class Calibration(Body):
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


class GalleryDetail(Body):
    """A gallery, how it is set, and its calibration."""

    gallery: Gallery
    model: Model
    settings: GallerySettings
    calibration: Calibration | None
