"""Rebuilds that were asked for, and how they go."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.jobs import Watched
from service.schemas.body import Body


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


class Job(Body):
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


class Jobs(Body):
    """The latest jobs, the last one first."""

    jobs: tuple[Job, ...]
