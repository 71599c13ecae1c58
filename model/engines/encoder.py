"""What every engine is to its callers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.facts import ModelFacts

# A call of one walk keeps what it works on in a processor's caches: in calls of eight a walk takes
# an eighth more processor time. A GPU idles in small calls.
_CPU_FRAMES, _GPU_FRAMES = 32, 256


@dataclass(frozen=True)
class Runtime:
    """What really runs, as the engine itself reports it."""

    engine: str
    """onnxruntime or openvino."""
    provider: str
    """The execution provider, by the engine's own name: `CPUExecutionProvider`, `CPU`."""
    precision: str
    """float32, bfloat16, float16 or int8: of the convolutions."""
    threads: int
    """CPU threads of one call."""
    callers: int
    """Calls at a time from which the engine gains; more only wait for each other."""

    @property
    def on_cpu(self) -> bool:
        """Whether the processor computes."""
        return self.provider.startswith("CPU")

    @property
    def batch_frames(self) -> int:
        """Padded frames of a call up to which a walk costs less in company."""
        return _CPU_FRAMES if self.on_cpu else _GPU_FRAMES


class Encoder(Protocol):
    """Turns aligned walks into embeddings. Any number of threads may call it."""

    @property
    def facts(self) -> ModelFacts:
        """What the model file says about itself."""
        ...

    @property
    def runtime(self) -> Runtime:
        """What really runs."""
        ...

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; lengths may differ.

        A walk's embedding does not depend on the others (max abs difference ≤ 1e-4 in float32).

        Raises:
            EncodeError: no walk, a wrong shape, dtype or length, or an encoder that is closed.

        """
        ...

    def close(self) -> None:
        """Give the memory back; calls in work end as they would have, later ones are refused."""
        ...
