"""OpenVINO, the faster engine on CPUs: in float32 or, on request, bfloat16."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.engines.encoder import Runtime
from model.engines.threads import Mode, Threads
from model.engines.walks import CLOSED, padded
from model.errors import EncodeError, ModelFileError, ProviderError
from model.facts import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    METADATA_KEY,
    ModelFacts,
    Value,
    check_interface,
    read_facts,
)
from model.manifest import read_model

DEVICE = "CPU"
_HINTS = {FLOAT32: "f32", BFLOAT16: "bf16"}
_DTYPES = {"u8": "uint8", "i64": "int64", "f32": "float32"}


def is_installed() -> bool:
    """Return whether the extra `openvino` is installed."""
    return find_spec("openvino") is not None


def _load() -> Any:
    if not is_installed():
        return None
    try:
        import openvino

        return openvino.Core()
    except (ImportError, RuntimeError) as error:
        raise ProviderError(f"OpenVINO is installed but cannot be loaded: {error}") from error


class OpenVinoEncoder:
    """An `Encoder` on OpenVINO. Each concurrent call has its own request; requests are reused."""

    def __init__(self, compiled: Any, facts: ModelFacts, runtime: Runtime) -> None:
        self._compiled: Any = compiled
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self.facts = facts
        self.runtime = runtime

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        precision: str = FLOAT32,
        threads: int | None = None,
        mode: Mode = "latency",
        load: Callable[[], Any] = _load,
    ) -> "OpenVinoEncoder":
        """Open a model file.

        Args:
            path: an ONNX file that `metagait export` wrote.
            precision: of what the file keeps in floats: "float32" or "bfloat16".
            threads: CPU threads for all calls together; by default every CPU this process may use.
            mode: "latency" puts all threads on one call, "throughput" each on a call of its own.
            load: returns an `openvino.Core`, or None if OpenVINO is not installed.

        Raises:
            ModelFileError: the file is missing, not ONNX, not ours, or needs other preprocessing.
            ProviderError: OpenVINO is not installed, or the CPU does not support the precision.

        """
        # The CPU plugin gives the thread that loads it a separate stack for signal handlers, and
        # frees that stack from whichever thread drops the plugin last. The loading thread must have
        # ended by then, as a signal to it would kill the process without any message.
        with ThreadPoolExecutor(1, "openvino") as aside:
            return aside.submit(cls._open, Path(path), precision, threads, mode, load).result()

    @classmethod
    def _open(
        cls,
        path: Path,
        precision: str,
        threads: int | None,
        mode: Mode,
        load: Callable[[], Any],
    ) -> "OpenVinoEncoder":
        core = load()
        _require(core, precision)
        content = read_model(path)
        shared = Threads.shared(mode, threads)
        try:
            model = core.read_model(model=content)
            compiled = core.compile_model(model, DEVICE, _properties(precision, shared, mode))
        except RuntimeError as error:
            raise ModelFileError(f"{path} is not an ONNX model that runs here: {error}") from error
        facts = read_facts(_metadata(model), content, path)
        check_interface(_interface(model), facts, path)
        running = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if running != _HINTS[precision]:
            raise ProviderError(f"expected {path} to run in {precision}, but {running} would")
        return cls(compiled, _qualified(facts, precision), _runtime(facts, precision, shared))

    def encode(self, walks: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed walks uint8 `[T_i, H, W]` as float32 `[N, P*D]`; raises EncodeError."""
        with self._request() as request:
            silhouettes, lengths = padded(walks, self.facts)
            answer = request.infer({"silhouettes": silhouettes, "lengths": lengths})
            return np.array(answer[0], np.float32).reshape(len(walks), -1)

    def close(self) -> None:
        """Release the memory; the encoder cannot be used afterwards."""
        with self._lock:
            self._compiled = None
            self._idle.clear()

    @contextmanager
    def _request(self) -> Iterator[Any]:
        with self._lock:
            if self._compiled is None:
                raise EncodeError(CLOSED)
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            yield request
        finally:
            with self._lock:
                if self._compiled is not None:
                    self._idle.append(request)


def _require(core: Any, precision: str) -> None:
    if core is None:
        raise ProviderError(
            "the engine openvino was asked for, but it is not installed; the extra 'openvino' "
            "installs it"
        )
    if DEVICE not in core.available_devices:
        raise ProviderError(
            f"a {DEVICE} was asked for, but OpenVINO has only {', '.join(core.available_devices)}"
        )
    capabilities: list[str] = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    if precision == BFLOAT16 and "BF16" not in capabilities:
        raise ProviderError(
            f"{BFLOAT16} was asked for, but this CPU has only {', '.join(capabilities)}"
        )


def _properties(precision: str, threads: Threads, mode: Mode) -> dict[str, Any]:
    return {
        # Always set: OpenVINO would choose bfloat16 by itself on CPUs that are good at it.
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": mode.upper(),
        "INFERENCE_NUM_THREADS": threads.of_a_call * threads.callers,
        "NUM_STREAMS": threads.callers,
        # Other work shares the CPUs; the kernel knows better where a thread should run.
        "ENABLE_CPU_PINNING": False,
    }


def _qualified(facts: ModelFacts, precision: str) -> ModelFacts:
    """Give embeddings that only this engine or precision produces an id of their own."""
    if facts.precision != FLOAT32:
        facts = facts.computed_in("openvino")
    return facts if precision == FLOAT32 else facts.computed_in(precision)


def _runtime(facts: ModelFacts, precision: str, threads: Threads) -> Runtime:
    # The hint decides for all numbers but integers, including the float16 ones of a file.
    narrow = precision if facts.precision in (FLOAT32, FLOAT16) else facts.precision
    return Runtime("openvino", DEVICE, narrow, threads.of_a_call, threads.callers)


def _metadata(model: Any) -> str | None:
    """Return the ONNX metadata, which OpenVINO stores as information from the framework."""
    path = ["framework", METADATA_KEY]
    return str(model.get_rt_info(path).astype(str)) if model.has_rt_info(path) else None


def _interface(model: Any) -> list[Value]:
    return [
        Value(
            port.any_name,
            _DTYPES.get(port.element_type.to_string(), port.element_type.to_string()),
            tuple(axis.get_length() if axis.is_static else None for axis in port.partial_shape),
        )
        for port in (*model.inputs, *model.outputs)
    ]
