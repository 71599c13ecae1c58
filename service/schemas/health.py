"""Whether the service works, and what runs here."""

from typing import Literal

from pydantic import Field

from service.schemas.body import Body
from service.schemas.galleries import Gallery, Threshold


class Alive(Body):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class Ready(Body):
    """Walks can be enrolled and identified, and everybody who is enrolled can be found."""

    status: Literal["ready"] = "ready"


class Training(Body):
    """On whom the model was trained, as its file says. It holds no ids of people."""

    subjects: int = Field(examples=[300], description="People, or synthetic walkers.")
    walkers: list[tuple[int, int]] = Field(
        examples=[[[1, 300]]],
        description="First and last number of each group of synthetic walkers.",
    )
    layout: str | None = Field(
        examples=[None], description="Layout of the dataset folder, if it was one."
    )
    partition: str | None = Field(
        examples=[None], description="The published partition whose training half it was, if any."
    )
    start: str | None = Field(
        examples=[None], description="File of the weights that the training began with, if any."
    )


class ModelFacts(Body):
    """What the model file says about itself."""

    model_id: str = Field(
        examples=["metagait-demo-0123456789ab"], description="Id of these very weights."
    )
    name: str = Field(examples=["metagait-demo"], description="Name, for people.")
    height: int = Field(examples=[64], description="Height of a silhouette, in pixels.")
    width: int = Field(examples=[44], description="Width of a silhouette, in pixels.")
    parts: int = Field(
        examples=[64], description="Horizontal parts of the body, each embedded on its own."
    )
    dimensions: int = Field(
        examples=[128],
        description="Numbers in the embedding of a part. A whole embedding takes 4 × `parts` × "
        "`dimensions` bytes.",
    )
    preprocessing_id: str = Field(
        examples=["metagait-align-2"], description="How pictures are made into silhouettes."
    )
    training: Training | None = Field(description="Null if the file does not say.")


class UploadLimits(Body):
    """What an upload may hold. More is refused."""

    upload_bytes: int = Field(examples=[67108864], description="Bytes in a request body.")
    frames: int = Field(examples=[1000], description="Frames in a walk.")
    min_frames: int = Field(
        examples=[5], description="Frames with a body that a walk needs; fewer are refused."
    )
    conclusive_frames: int = Field(
        examples=[13],
        description="Frames with a body that a decision needs; with fewer it is `inconclusive`.",
    )
    frame_pixels: int = Field(examples=[8294400], description="Pixels in a frame.")
    walk_pixels: int = Field(
        examples=[640000000], description="Pixels in all frames of a walk together."
    )


class KeptGallery(Gallery):
    """The gallery that was asked about, and what it stores."""

    retention: str = Field(
        examples=["keep"], description="`keep`, or `embeddings-only`: no silhouettes are stored."
    )
    without_silhouettes: int = Field(
        examples=[0],
        description="Samples that were stored without silhouettes. No other model can embed them, "
        "so a rebuild is refused unless this is 0. Enrolling their walks again adds them.",
    )
    encrypted: bool = Field(
        description="True if the silhouettes and embeddings of new subjects are encrypted."
    )
    plain_subjects: int = Field(
        examples=[20], description="Subjects whose silhouettes and embeddings are not encrypted."
    )
    damaged: int = Field(
        examples=[0],
        description="Samples that cannot be read, so that no search finds them. The log has their "
        "ids.",
    )


class Index(Body):
    """How the gallery is searched."""

    kind: str = Field(
        examples=["exact"], description="The kind of index: `exact`, `compact`, `gpu` or `milvus`."
    )
    state: str = Field(
        examples=["compares with every sample in memory"],
        description="What the index does at present, in words.",
    )


class Info(Body):
    """The model, the gallery and the limits of this service."""

    version: str = Field(examples=["0.1.0"], description="Version of metagait.")
    engine: str = Field(examples=["onnxruntime"], description="The engine that runs the model.")
    provider: str = Field(
        examples=["CPUExecutionProvider"],
        description="What the engine computes on; `auto` in a setting is resolved here.",
    )
    precision: str = Field(examples=["float32"], description="The arithmetic that is in use.")
    threads: int = Field(
        examples=[2], description="CPU threads that work on one call of the model."
    )
    model: ModelFacts
    threshold: Threshold | None = Field(
        description="Null if the gallery has no calibration that holds and the model file has no "
        "default."
    )
    gallery: KeptGallery
    index: Index
    limits: UploadLimits
