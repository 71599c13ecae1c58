"""ONNX Runtime, the engine that is always available: on CPU, CUDA or TensorRT."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.engines import nvidia
from model.engines.encoder import Runtime
from model.engines.threads import Mode, Threads
from model.engines.walks import CLOSED, padded
from model.errors import EncodeError, ModelFileError, ProviderError
from model.facts import (
    FLOAT16,
    FLOAT32,
    METADATA_KEY,
    SHIPPED_MODEL,
    ModelFacts,
    Value,
    check_interface,
    read_facts,
)
from model.manifest import read_model

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_LOG = logging.getLogger("metagait.engines")
_DTYPES = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32"}


class OnnxEncoder:
    """An `Encoder` on ONNX Runtime."""

    def __init__(
        self, session: onnxruntime.InferenceSession, facts: ModelFacts, threads: Threads
    ) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        provider: str = session.get_providers()[0]
        self.facts = _of_this_provider(facts, provider)
        precision = _precision(facts, provider)
        self.runtime = Runtime(
            "onnxruntime", provider, precision, threads.of_a_call, threads.callers
        )

    @classmethod
    def open(
        cls,
        path: str | Path = SHIPPED_MODEL,
        *,
        provider: str = "auto",
        threads: int | None = None,
        mode: Mode = "latency",
        cache: Path | None = None,
    ) -> "OnnxEncoder":
        """Open a model file.

        Args:
            path: an ONNX file that `metagait export` wrote.
            provider: "cpu", "cuda", "tensorrt", or "auto" for CUDA if available, else the CPU.
            threads: CPU threads for all calls together; by default every CPU this process may use.
            mode: "latency" puts all threads on one call, "throughput" each on a call of its own.
            cache: folder where TensorRT keeps its engines; without it, each start rebuilds them.

        Raises:
            ModelFileError: the file is missing, not ONNX, not ours, or needs other preprocessing.
            ProviderError: the requested provider is not the one that would run.

        """
        content = read_model(Path(path))
        wanted = _choose(provider)
        shared = Threads.shared(mode, threads)
        if wanted != PROVIDERS["cpu"]:
            # The libraries of the extra 'gpu' are among Python's packages, where no loader looks.
            onnxruntime.preload_dlls()
        half = wanted == PROVIDERS["tensorrt"] and _asks_for(content, Path(path)) == FLOAT16
        options, providers = _options(shared.of_a_call), _with_fallback(wanted, cache, half)
        session = _session(content, options, providers, Path(path))
        running = session.get_providers()[0]
        if provider != "auto" and running != wanted:
            raise ProviderError(f"expected {wanted} to run {path}, but {running} would")
        if running != wanted:
            _LOG.warning("%s was expected to run %s, but %s does", wanted, path, running)
        facts = _facts(session, content, Path(path))
        check_interface(_interface(session), facts, Path(path))
        return cls(session, facts, shared)

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; raises EncodeError."""
        session = self._session
        if session is None:
            raise EncodeError(CLOSED)
        silhouettes, lengths = padded(walks, self.facts)
        (embedding,) = session.run(None, {"silhouettes": silhouettes, "lengths": lengths})
        return np.asarray(embedding, np.float32).reshape(len(walks), -1)

    def close(self) -> None:
        """Release the session's memory; the encoder cannot be used afterwards."""
        self._session = None


def _of_this_provider(facts: ModelFacts, provider: str) -> ModelFacts:
    # Only float32 is the same everywhere: int8 becomes float on a GPU, and float16 sums differ.
    if facts.precision == FLOAT32 or provider == PROVIDERS["cpu"]:
        return facts
    return facts.computed_in(provider.removesuffix("ExecutionProvider").lower())


def _precision(facts: ModelFacts, provider: str) -> str:
    if facts.precision != FLOAT16 or provider != PROVIDERS["cpu"]:
        return facts.precision
    _LOG.warning(
        "%s asks for %s, which this processor has no kernels for: it computes in %s, in more time "
        "than for the file that it was made from",
        facts.model_id,
        FLOAT16,
        FLOAT32,
    )
    return FLOAT32


def _choose(provider: str) -> str:
    available = onnxruntime.get_available_providers()
    if provider == "auto":
        there = PROVIDERS["cuda"] in available and nvidia.gpus()
        return PROVIDERS["cuda"] if there else PROVIDERS["cpu"]
    if provider not in PROVIDERS:
        raise ProviderError(
            f"expected a provider of auto, {', '.join(PROVIDERS)}, got {provider!r}"
        )
    if PROVIDERS[provider] not in available:
        raise ProviderError(
            f"{PROVIDERS[provider]} was asked for, but this ONNX Runtime has only "
            f"{', '.join(available)}; the extra 'gpu' installs the other build"
        )
    if provider != "cpu" and not nvidia.gpus():
        raise ProviderError(
            f"{PROVIDERS[provider]} was asked for, but no NVIDIA driver ({nvidia.DRIVER}) gives "
            "this process a GPU"
        )
    return PROVIDERS[provider]


def _session(
    content: bytes, options: onnxruntime.SessionOptions, providers: list[Any], path: Path
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own types, without a common base
        raise ModelFileError(f"{path} is not an ONNX model that runs here: {error}") from error


def _facts(session: onnxruntime.InferenceSession, content: bytes, path: Path) -> ModelFacts:
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    return read_facts(metadata.get(METADATA_KEY), content, path)


def _asks_for(content: bytes, path: Path) -> str:
    """Read a file's precision before any provider sees it, with a session that never runs."""
    options = _options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = _session(content, options, [PROVIDERS["cpu"]], path)
    return _facts(session, content, path).precision


def _with_fallback(wanted: str, cache: Path | None, half: bool = False) -> list[Any]:
    if wanted == PROVIDERS["cpu"]:
        return [wanted]
    # An exhaustive algorithm search would cost seconds for every new walk length. TF32 would shift
    # embeddings by 1e-3: a float32 file means float32 on every provider.
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    cuda = [(PROVIDERS["cuda"], options), PROVIDERS["cpu"]]
    if wanted == PROVIDERS["cuda"]:
        return cuda
    kept = {} if cache is None else {"trt_engine_cache_path": str(cache)}
    # TensorRT uses 16-bit kernels only if allowed, and then for float32 files as well.
    options = {"trt_engine_cache_enable": str(cache is not None), "trt_fp16_enable": str(half)}
    return [(wanted, options | kept), *cuda]


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads that spin would take the processor away from decoding and searching.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _interface(session: onnxruntime.InferenceSession) -> list[Value]:
    return [
        Value(
            value.name,
            _DTYPES.get(value.type, value.type),
            tuple(axis if isinstance(axis, int) else None for axis in value.shape),
        )
        for value in (*session.get_inputs(), *session.get_outputs())
    ]
