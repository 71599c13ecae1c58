"""Chooses the engine for a model: the requested one, or the faster of those that agree.

Engines are comparable only in float32, where they agree within 1e-4. So `auto` chooses between
engines for a float32 file only, and leaves any other file to ONNX Runtime. A precision lower than
the file's must be requested, because a gallery holds embeddings of one arithmetic.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from model.engines.encoder import Encoder, Runtime
from model.engines.onnx_runtime import PROVIDERS, OnnxEncoder
from model.engines.open_vino import OpenVinoEncoder, is_installed
from model.engines.threads import Mode
from model.errors import ModelError, ProviderError
from model.facts import BFLOAT16, FLOAT32, ModelFacts

Engine = Literal["auto", "onnxruntime", "openvino"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt"]
Precision = Literal["model", "bfloat16"]

AGREEMENT = 1e-4
"""Largest absolute difference between embeddings that may share a gallery."""
_LOG = logging.getLogger("metagait.engines")
# An engine must be a tenth faster to be chosen, so that noise does not decide.
_MARGIN = 0.9
_FRAMES = 30
_ROUNDS = 5
_BUDGET_S = 2.0


@dataclass(frozen=True)
class EngineChoice:
    """What the caller asked for; by default, whatever is best on this machine."""

    engine: Engine = "auto"
    provider: Provider = "auto"
    precision: Precision = "model"
    mode: Mode = "latency"
    threads: int | None = None
    cache: Path | None = None
    """Folder for what an engine builds at its first start and can reuse."""
    measured: str | None = None
    """The engine that a measurement in this process chose; `auto` does not measure again."""

    def like(self, runtime: Runtime) -> "EngineChoice":
        """Return the same choice for another model, without measuring again."""
        return replace(self, measured=runtime.engine)


def open_encoder(path: Path, choice: EngineChoice | None = None) -> Encoder:
    """Open a model file on the requested engine.

    Raises:
        ModelFileError: the file is missing, not ONNX, not ours, or needs other preprocessing.
        ProviderError: the requested engine, provider or precision does not run here.

    """
    choice = choice or EngineChoice()
    _require_known(choice)
    if choice.engine == "openvino" or choice.precision == BFLOAT16:
        _require_openvino(choice)
        return _openvino(path, choice)
    reference = _onnxruntime(path, choice)
    if "onnxruntime" in (choice.engine, choice.measured) or not _has_rivals(reference):
        return reference
    try:
        rival = _openvino(path, choice)
    except ModelError as error:
        _LOG.warning("OpenVINO is installed but does not run here: %s", error)
        return reference
    if choice.measured == "openvino":
        reference.close()
        return rival
    try:
        return quicker(reference, rival)
    except RuntimeError as error:  # raised by OpenVINO for whatever it cannot compute
        _LOG.warning("OpenVINO is installed but does not run here: %s", error)
        rival.close()
        return reference


def quicker(
    reference: Encoder, rival: Encoder, clock: Callable[[], float] = time.perf_counter
) -> Encoder:
    """Time two encoders in turn on the same walk; return the faster one and close the other.

    The rival wins if it agrees with the reference and is a tenth faster at its best.
    """
    walk = trial_walk(reference.facts)
    difference = float(np.abs(reference.encode([walk]) - rival.encode([walk])).max())
    best = {"reference": float("inf"), "rival": float("inf")}
    started = clock()
    for number in range(_ROUNDS):
        if number and clock() - started > _BUDGET_S:
            break
        for name, encoder in (("reference", reference), ("rival", rival)):
            began = clock()
            encoder.encode([walk])
            best[name] = min(best[name], clock() - began)
    # A NaN difference counts as disagreement.
    wins = difference <= AGREEMENT and best["rival"] < _MARGIN * best["reference"]
    taken, other = (rival, reference) if wins else (reference, rival)
    _LOG.info(
        "%s takes %.3f of the time of %s, and differs by %.1e: took %s",
        rival.runtime.engine, best["rival"] / best["reference"], reference.runtime.engine,
        difference, taken.runtime.engine,
    )  # fmt: skip
    other.close()
    return taken


def trial_walk(facts: ModelFacts, frames: int = _FRAMES) -> NDArray[np.uint8]:
    """Return made-up silhouettes uint8 `[frames, H, W]`, the same every time."""
    noise = np.random.default_rng(0).random((min(frames, facts.max_frames), *facts.size))
    return np.where(noise < 0.3, 255, 0).astype(np.uint8)


def _require_known(choice: EngineChoice) -> None:
    for what, value, known in (
        ("an engine", choice.engine, get_args(Engine)),
        ("a provider", choice.provider, get_args(Provider)),
        ("a precision", choice.precision, get_args(Precision)),
    ):
        if value not in known:
            raise ProviderError(f"expected {what} of {', '.join(known)}, got {value!r}")


def _require_openvino(choice: EngineChoice) -> None:
    """Reject options that contradict OpenVINO: only it has bfloat16, and only on the CPU."""
    if choice.engine == "onnxruntime":
        raise ProviderError("expected the engine openvino for bfloat16, got onnxruntime")
    if choice.provider not in ("auto", "cpu"):
        raise ProviderError(f"expected the provider cpu for OpenVINO, got {choice.provider!r}")


def _has_rivals(reference: OnnxEncoder) -> bool:
    on_cpu = reference.runtime.provider == PROVIDERS["cpu"]
    return on_cpu and reference.facts.precision == FLOAT32 and is_installed()


def _onnxruntime(path: Path, choice: EngineChoice) -> OnnxEncoder:
    return OnnxEncoder.open(
        path,
        provider=choice.provider,
        threads=choice.threads,
        mode=choice.mode,
        cache=choice.cache,
    )


def _openvino(path: Path, choice: EngineChoice) -> OpenVinoEncoder:
    precision = FLOAT32 if choice.precision == "model" else choice.precision
    return OpenVinoEncoder.open(path, precision=precision, threads=choice.threads, mode=choice.mode)
