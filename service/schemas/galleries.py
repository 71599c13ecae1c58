"""Galleries: their size, settings, calibration, and the threshold in force."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from service import decision
from service.decision import Basis
from service.schemas.body import Body


class Model(Body):
    """The model that embedded the walk and the gallery."""

    model_id: str = Field(
        examples=["metagait-demo-0123456789ab"],
        description="Id of the model; embeddings of different models are never compared.",
    )


class Gallery(Body):
    """The gallery that answered, and its size."""

    name: str = Field(examples=["main"], description="Name of the gallery.")
    generation: int = Field(
        examples=[1],
        description="Number of the live generation: all embeddings of the gallery by one model. A "
        "rebuild makes a new one.",
    )
    subjects: int = Field(examples=[20], description="Enrolled people.")
    samples: int = Field(examples=[40], description="Enrolled walks.")


class GalleryEntry(Body):
    """A gallery in the list."""

    name: str = Field(examples=["main"], description="Name of the gallery.")
    subjects: int = Field(examples=[20], description="Enrolled people.")
    samples: int = Field(examples=[40], description="Enrolled walks.")


class Galleries(Body):
    """The galleries that the API key is for."""

    galleries: tuple[GalleryEntry, ...] = Field(description="Each with its size, by name.")
    own: str | None = Field(
        examples=["main"],
        description="The service's own gallery, used by requests that name none. Null if the key "
        "is not for it.",
    )


class Interval(Body):
    """A 95 % confidence interval of a rate (a share from 0 to 1) or a distance."""

    low: float = Field(examples=[0.004], description="Lower end.")
    high: float = Field(examples=[0.018], description="Upper end.")


class Threshold(Body):
    """The threshold that decides now, and how it was measured.

    FPIR is the share of searches by strangers that name somebody, FNIR the share of searches by
    enrolled people that miss them (ISO/IEC 19795-1).
    """

    distance: float = Field(
        examples=[11.5], description="The decision is `match` up to this distance."
    )
    inconclusive_to: float = Field(
        examples=[12.1],
        description="Beyond `distance` and up to this distance the decision is `inconclusive`; "
        "beyond this one it is `no_match`.",
    )
    basis: Basis = Field(
        examples=["calibration"],
        description="`calibration`: measured with this gallery. `model`: the default in the model "
        "file, measured on other people.",
    )
    target_fpir: float = Field(
        examples=[0.01], description="FPIR that the threshold was chosen for, a share from 0 to 1."
    )
    measured_fpir: Interval | None = Field(
        description="FPIR that was measured in this gallery. Null for the model's default."
    )
    fnir: float | None = Field(
        examples=[0.08], description="FNIR that was measured. Null if it could not be."
    )
    calibrated_at_size: int = Field(
        examples=[320], description="Subjects in the gallery when it was measured."
    )
    gallery_size: int = Field(examples=[340], description="Subjects in the gallery now.")
    searches: int = Field(
        examples=[1280], description="Searches by strangers that it was measured with."
    )
    source: str = Field(
        examples=["this gallery's own samples, 2026-01-05T10:00:00.000+00:00"],
        description="On whom it was measured, and when.",
    )
    valid: bool = Field(
        examples=[True],
        description="True if it was measured with this gallery and still holds. If false, `note` "
        "says why: do not rely on decisions before you calibrate.",
    )
    note: str = Field(
        examples=["measured with this gallery"], description="Why this threshold is in force."
    )

    @classmethod
    def of(cls, threshold: decision.Threshold | None) -> Self | None:
        """State the threshold in force."""
        return None if threshold is None else cls.model_validate(threshold)


class GallerySettings(Body):
    """How a gallery is set."""

    aggregation: str = Field(
        examples=["nearest"],
        description="The distance to a subject: `nearest` is that to its nearest sample, `mean` "
        "the mean over its `nearest_samples` nearest ones.",
    )
    nearest_samples: int = Field(
        examples=[3], description="Samples that `mean` takes, 1 to 16; of subjects with fewer, all."
    )
    conflict: str = Field(
        examples=["report"],
        description="What happens to a new sample that is nearer to another subject: `report` it "
        "in the answer, `refuse` it with a 409, or `off` (it is not checked).",
    )
    retention: str = Field(
        examples=["keep"],
        description="`keep` stores the silhouettes, so that another model can embed them. "
        "`embeddings-only` stores none, and deletes those that are there for good.",
    )
    index_kind: str = Field(
        examples=["service"],
        description="How the gallery is searched: `exact`, `compact`, `gpu` or `milvus`, or "
        "`service` for what METAGAIT_INDEX says. A change takes effect when the gallery is opened "
        "next.",
    )


class GalleryChanges(BaseModel):
    """The settings to change. Those that you leave out stay as they are."""

    model_config = ConfigDict(extra="forbid")

    aggregation: str | None = Field(
        None, examples=["mean"], description="`nearest` or `mean`; see GallerySettings."
    )
    nearest_samples: int | None = Field(
        None, examples=[2], description="Samples that `mean` takes, 1 to 16."
    )
    conflict: str | None = Field(
        None, examples=["refuse"], description="`report`, `refuse` or `off`."
    )
    retention: str | None = Field(
        None,
        examples=["keep"],
        description="`keep` or `embeddings-only`, which deletes the stored silhouettes for good: "
        "no other model can embed these samples any more.",
    )
    index_kind: str | None = Field(
        None,
        examples=["exact"],
        description="`service`, `exact`, `compact`, `gpu` or `milvus`; takes effect when the "
        "gallery is opened next.",
    )


class CalibrationWanted(BaseModel):
    """What a calibration shall promise."""

    model_config = ConfigDict(extra="forbid")

    # Below a millionth no gallery could ever promise it, and the arithmetic overflows.
    target_fpir: float = Field(
        0.01,
        ge=1e-6,
        lt=1,
        description="Largest share of searches by strangers that may name somebody (FPIR): 0.01 is "
        "1 %. It takes at least 3 / `target_fpir` subjects.",
    )


class Calibration(Body):
    """A threshold that was measured with the gallery's own samples, and the rates found with it.

    A non-mated search takes a sample and leaves its subject out of the gallery, as if a stranger
    asked; a mated search leaves out only the sample itself. All rates are shares from 0 to 1.
    """

    created_at: datetime = Field(description="When it was measured.")
    target_fpir: float = Field(examples=[0.01], description="The FPIR that was asked for.")
    threshold: float = Field(
        examples=[11.5], description="The decision is `match` up to this distance."
    )
    threshold_interval: Interval = Field(description="95 % interval of `threshold`.")
    inconclusive_to: float = Field(
        examples=[12.1],
        description="The threshold for three times the target. Between the two the decision is "
        "`inconclusive`.",
    )
    fpir: float = Field(
        examples=[0.0098],
        description="Share of the non-mated searches in which somebody was within the threshold.",
    )
    fpir_interval: Interval = Field(description="95 % interval of `fpir`.")
    fnir: float | None = Field(
        examples=[0.08],
        description="Share of the mated searches that missed the subject. Null if no subject has "
        "two samples.",
    )
    fnir_interval: Interval | None = Field(description="95 % interval of `fnir`.")
    subjects: int = Field(examples=[320], description="Subjects in the gallery at that time.")
    samples: int = Field(examples=[1300], description="Samples in the gallery at that time.")
    independent_searches: int = Field(
        examples=[320],
        description="Subjects that were searched for; the walks of one are not independent.",
    )
    nonmated_searches: int = Field(examples=[1280], description="Searches as if by a stranger.")
    mated_searches: int = Field(examples=[1280], description="Searches by enrolled people.")
    aggregation: str = Field(
        examples=["nearest"],
        description="How distances to a subject were made. If the gallery's setting is changed, "
        "the calibration no longer holds.",
    )


class GalleryDetail(Body):
    """A gallery with its settings and its calibration."""

    gallery: Gallery
    model: Model
    settings: GallerySettings
    calibration: Calibration | None = Field(
        description="Null if the live generation was never calibrated."
    )
