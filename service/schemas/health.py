"""Whether the service works, and what runs here."""

from typing import Literal

from pydantic import Field

from service.schemas.body import Body
from service.schemas.galleries import Gallery, Threshold


class Alive(Body):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Body):
    """Walks can be enrolled and identified; the index equals the store."""

    status: Literal["ready"] = "ready"


class Training(Body):
    """Whom a model was trained on, as its file says; nobody's id is in it."""

    subjects: int = Field(examples=[300])
    walkers: list[tuple[int, int]] = Field(
        examples=[[[1, 300]]], description="first and last of each group of synthetic walkers"
    )
    layout: str | None = Field(examples=[None], description="of a dataset folder, if it was one")
    partition: str | None = Field(examples=[None], description="whose training half it was")
    start: str | None = Field(examples=[None], description="file of the weights it began with")


class ModelFacts(Body):
    """What the model file says about itself."""

    model_id: str = Field(examples=["metagait-demo-0123456789ab"])
    name: str = Field(examples=["metagait-demo"])
    height: int = Field(examples=[64])
    width: int = Field(examples=[44])
    parts: int = Field(examples=[64])
    dimensions: int = Field(examples=[128])
    preprocessing_id: str = Field(examples=["metagait-align-2"])
    training: Training | None = Field(description="null where the file does not tell")


class UploadLimits(Body):
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
    damaged: int = Field(
        examples=[0],
        description="samples that no search finds: they cannot be read, and the log names them",
    )


class Index(Body):
    """What searches the gallery."""

    kind: str = Field(examples=["exact"])
    state: str = Field(examples=["compares with every sample in memory"])


class Info(Body):
    """What runs here."""

    version: str = Field(examples=["0.1.0"])
    engine: str = Field(examples=["onnxruntime"], description="the engine that really runs")
    provider: str = Field(
        examples=["CPUExecutionProvider"], description="the execution provider that really runs"
    )
    precision: str = Field(examples=["float32"], description="of the arithmetic that really runs")
    threads: int = Field(examples=[2], description="CPU threads of one encoder call")
    model: ModelFacts
    threshold: Threshold | None
    gallery: KeptGallery
    index: Index
    limits: UploadLimits
