"""ONNX file -> embeddings (interface; body follows)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Threshold:
    """A decision threshold and the promise that was measured with it."""

    distance: float
    target_fpir: float
    fnir: float
    gallery_subjects: int
    searches: int
    """Non-mated searches behind the figure."""
    source: str


@dataclass(frozen=True)
class ModelFacts:
    """What belongs to a model and travels in its file."""

    model_id: str
    """Name and the first 12 hex digits of the file's SHA-256: `metagait-demo-0123456789ab`."""
    name: str
    size: tuple[int, int]
    parts: int
    dimensions: int
    preprocessing_id: str
    max_frames: int
    threshold: Threshold | None

    @property
    def embedding_length(self) -> int:
        """Numbers in a flattened embedding, P·D."""
        return self.parts * self.dimensions


class Encoder(Protocol):
    """Turns aligned walks into embeddings."""

    @property
    def facts(self) -> ModelFacts:
        """What the model file says about itself."""
        ...

    @property
    def provider(self) -> str:
        """The execution provider that really runs."""
        ...

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; lengths may differ."""
        ...

    def close(self) -> None:
        """Give the session's memory back."""
        ...
