"""The `Encoder` protocol, which every engine implements for its callers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.facts import ModelFacts

# A call with a single walk stays in the processor's caches: in calls of eight, a walk takes an
# eighth more processor time. A GPU, in contrast, idles in small calls.
_CPU_FRAMES, _GPU_FRAMES = 32, 256


@dataclass(frozen=True)
class Runtime:
    """What actually runs, as reported by the engine itself."""

    engine: str
    """onnxruntime or openvino."""
    provider: str
    """The execution provider, under the engine's own name: `CPUExecutionProvider`, `CPU`."""
    precision: str
    """Precision of the convolutions: float32, bfloat16, float16 or int8."""
    threads: int
    """CPU threads per call."""
    callers: int
    """Number of simultaneous calls that the engine benefits from; more only wait for each other."""

    @property
    def on_cpu(self) -> bool:
        """Whether the computation runs on the CPU."""
        return self.provider.startswith("CPU")

    @property
    def batch_frames(self) -> int:
        """Padded frames per call up to which batching makes a walk cheaper."""
        return _CPU_FRAMES if self.on_cpu else _GPU_FRAMES


class Encoder(Protocol):
    """Turns aligned walks into embeddings; may be called from any number of threads."""

    @property
    def facts(self) -> ModelFacts:
        """What the model file says about itself."""
        ...

    @property
    def runtime(self) -> Runtime:
        """What actually runs."""
        ...

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; lengths may differ.

        A walk's embedding does not depend on the others (max abs difference ≤ 1e-4 in float32).

        Raises:
            EncodeError: there is no walk, a walk has a wrong shape, dtype or length, or the encoder
                is closed.

        """
        ...

    def close(self) -> None:
        """Release the memory; calls in progress finish normally, later ones are refused."""
        ...
