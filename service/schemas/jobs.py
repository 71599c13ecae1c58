"""Rebuilds that were asked for, and how they go."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.progress import Watched
from service.schemas.body import Body

_LOST = "Null if the store cannot read it any more."


class RebuildWanted(BaseModel):
    """The model to rebuild with."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        max_length=300,
        examples=["metagait-demo-0123456789ab"],
        description="The id of a model that the gallery had before, or the name of an .onnx file "
        "in the folder METAGAIT_MODELS. Without it, the model of METAGAIT_MODEL is taken.",
    )


class Job(Body):
    """A rebuild: how far it has come, or how it ended."""

    job_id: str = Field(examples=["3f1c9a0d7be24455"], description="Id of the rebuild.")
    kind: str = Field(examples=["rebuild"], description="Always `rebuild`.")
    model_id: str = Field(
        examples=["metagait-demo-0123456789ab"],
        description="The model that embeds the samples again.",
    )
    state: Literal["running", "done", "failed", "cancelled", "interrupted"] = Field(
        description="`done`: the service answers from the new generation. `interrupted`: the "
        "service stopped before the end. `message` says more."
    )
    done: int = Field(examples=[1200], description="Samples that are embedded.")
    total: int = Field(examples=[4000], description="Samples in all.")
    eta_s: float | None = Field(
        examples=[93.5],
        description="Seconds that embedding the rest will take. Null if that cannot be told: "
        "before the second batch, while what is embedded is checked, after the end, and where "
        "another process rebuilds.",
    )
    message: str = Field(examples=[""], description="How it ended, or why it stopped.")
    created_at: datetime | None = Field(description=f"When it was asked for. {_LOST}")
    updated_at: datetime | None = Field(
        description="When it was last seen at work: after a batch, or while what is embedded is "
        f"checked. {_LOST}"
    )

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Show a job."""
        return cls(**vars(watched.job), eta_s=watched.eta_s)


class Jobs(Body):
    """The latest rebuilds."""

    jobs: tuple[Job, ...] = Field(description="The last one first.")
