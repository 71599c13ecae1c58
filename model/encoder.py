"""ONNX file -> embeddings, with ONNX Runtime.

Everything that belongs to a model is read from the model's own file: input size, parts,
preprocessing, threshold. The provider that runs is compared with the one that was asked for.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.errors import EncodeError, ModelFileError, ProviderError
from model.manifest import read_model
from model.silhouettes import PREPROCESSING_ID

SHIPPED_MODEL = Path(__file__).parent / "weights" / "metagait.onnx"
METADATA_KEY = "metagait"
"""Key of the ONNX metadata under which the facts stand as JSON."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Threshold:
    """A decision threshold and the promise that was measured with it."""

    distance: float
    target_fpir: float
    fnir: float
    """Share of enrolled subjects missed at this distance, in the same measurement."""
    gallery_subjects: int
    """Subjects in the galleries that were searched; a larger gallery needs a new measurement."""
    searches: int
    """Non-mated searches behind the figure."""
    source: str
    """What the walks were, for the person who reads it."""


@dataclass(frozen=True)
class ModelFacts:
    """What belongs to a model and travels in its file; `model_id` is worked out from the bytes."""

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

    def to_json(self) -> str:
        """Everything but the id, which the file itself decides."""
        facts = asdict(self)
        del facts["model_id"]
        return json.dumps(facts)

    @classmethod
    def from_json(cls, text: str, digest: str) -> "ModelFacts":
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError on anything else."""
        facts: dict[str, Any] = json.loads(text)
        threshold = facts.pop("threshold")
        facts["size"] = tuple(facts["size"])
        return cls(
            model_id=f"{facts['name']}-{digest[:12]}",
            threshold=None if threshold is None else Threshold(**threshold),
            **facts,
        )


class Encoder(Protocol):
    """Turns aligned walks into embeddings."""

    @property
    def facts(self) -> ModelFacts:
        """What the model file says about itself."""
        ...

    @property
    def provider(self) -> str:
        """The execution provider that really runs, by ONNX Runtime's name."""
        ...

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; lengths may differ."""
        ...

    def close(self) -> None:
        """Give the session's memory back."""
        ...


class OnnxEncoder:
    """An `Encoder` on ONNX Runtime. Safe to call from several threads."""

    def __init__(self, session: onnxruntime.InferenceSession, facts: ModelFacts) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self.facts = facts
        self.provider: str = session.get_providers()[0]

    @classmethod
    def open(
        cls, path: str | Path = SHIPPED_MODEL, *, provider: str = "auto", threads: int | None = None
    ) -> "OnnxEncoder":
        """Open a model file.

        Args:
            path: an ONNX file that `metagait export` wrote.
            provider: "cpu", "cuda", or "auto" for CUDA where it is there and the CPU elsewhere.
            threads: threads of one call; by default every CPU this process may use.

        Raises:
            ModelFileError: no such file, not ONNX, not ours, or made behind other preprocessing.
            ProviderError: the provider that was asked for is not what would run.

        """
        content = read_model(Path(path))
        wanted = _choose(provider)
        try:
            session = onnxruntime.InferenceSession(
                content, _options(threads), providers=_with_fallback(wanted)
            )
        except Exception as error:  # ONNX Runtime raises its own types, without a common base
            raise ModelFileError(f"{path} is not an ONNX model that runs here: {error}") from error
        running = session.get_providers()[0]
        if provider != "auto" and running != wanted:
            raise ProviderError(f"expected {wanted} to run {path}, but {running} would")
        return cls(session, _facts(session, content, Path(path)))

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; lengths may differ.

        A walk's embedding does not depend on the others (max abs difference ≤ 1e-4).

        Raises:
            EncodeError: no walk, a wrong shape, dtype or length, or an encoder that is closed.

        """
        if self._session is None:
            raise EncodeError("expected an open encoder, got one that was closed")
        if not walks:
            raise EncodeError("expected at least one walk, got none")
        for position, walk in enumerate(walks):
            _check_walk(walk, position, self.facts)
        lengths = np.array([len(walk) for walk in walks], np.int64)
        batch = np.zeros((len(walks), int(lengths.max()), *self.facts.size), np.uint8)
        for row, walk in zip(batch, walks, strict=True):
            row[: len(walk)] = walk
        (embedding,) = self._session.run(None, {"silhouettes": batch, "lengths": lengths})
        return np.asarray(embedding, np.float32).reshape(len(walks), -1)

    def close(self) -> None:
        """Give the session's memory back; the encoder cannot be used afterwards."""
        self._session = None


def available_cpus() -> int:
    """CPUs this process may use: its affinity, and less where a cgroup quota says so."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))


def _choose(provider: str) -> str:
    available = onnxruntime.get_available_providers()
    if provider == "auto":
        return _PROVIDERS["cuda"] if _PROVIDERS["cuda"] in available else _PROVIDERS["cpu"]
    if provider not in _PROVIDERS:
        raise ProviderError(f"expected a provider of auto, cpu or cuda, got {provider!r}")
    if _PROVIDERS[provider] not in available:
        raise ProviderError(
            f"{_PROVIDERS[provider]} was asked for, but this ONNX Runtime has only "
            f"{', '.join(available)}; the extra 'gpu' installs the other build"
        )
    return _PROVIDERS[provider]


def _with_fallback(wanted: str) -> list[Any]:
    if wanted == _PROVIDERS["cpu"]:
        return [wanted]
    # An exhaustive algorithm search for every new walk length would cost seconds each.
    return [(wanted, {"cudnn_conv_algo_search": "HEURISTIC"}), _PROVIDERS["cpu"]]


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    # Idle threads that spin take the processor from decoding and searching.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _facts(session: onnxruntime.InferenceSession, content: bytes, path: Path) -> ModelFacts:
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise ModelFileError(f"{path} is not a model that metagait exported: it holds no facts")
    try:
        facts = ModelFacts.from_json(metadata[METADATA_KEY], hashlib.sha256(content).hexdigest())
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"the facts inside {path} cannot be read: {error!r}") from error
    if facts.preprocessing_id != PREPROCESSING_ID:
        raise ModelFileError(
            f"{path} expects preprocessing {facts.preprocessing_id!r}, this version does "
            f"{PREPROCESSING_ID!r}: export the model again with this version"
        )
    _check_interface(session, facts, path)
    return facts


def _check_interface(session: onnxruntime.InferenceSession, facts: ModelFacts, path: Path) -> None:
    """Compare what the graph takes and gives with what its facts say; free axes are None here."""
    height, width = facts.size
    expected = [
        ("silhouettes", "tensor(uint8)", [None, None, height, width]),
        ("lengths", "tensor(int64)", [None]),
        ("embedding", "tensor(float)", [None, facts.parts, facts.dimensions]),
    ]
    got = [
        (value.name, value.type, [axis if isinstance(axis, int) else None for axis in value.shape])
        for value in (*session.get_inputs(), *session.get_outputs())
    ]
    if got != expected:
        raise ModelFileError(f"expected {path} to take and give {expected}, got {got}")


def _check_walk(walk: NDArray[np.uint8], position: int, facts: ModelFacts) -> None:
    if walk.dtype != np.uint8 or walk.ndim != 3 or walk.shape[1:] != facts.size:
        height, width = facts.size
        raise EncodeError(
            f"walk {position}: expected uint8 [T, {height}, {width}], "
            f"got {walk.dtype} {list(walk.shape)}"
        )
    if not 1 <= len(walk) <= facts.max_frames:
        raise EncodeError(
            f"walk {position}: expected 1 to {facts.max_frames} frames, got {len(walk)}"
        )
