"""Engines as they may be asked for, and tiny networks in the files that they run."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from model.encoder import METADATA_KEY, Encoder, EngineChoice, OnnxEncoder, open_encoder
from model.errors import ProviderError
from model.export import export_onnx, write_model
from model.facts import read_facts
from model.halve import halve
from model.network import MetaGait, NetworkConfig
from model.quantise import quantise
from tests.fakes import THRESHOLD


class Engine(NamedTuple):
    """An engine as it may be asked for, and how near it has to come to the network."""

    choice: EngineChoice
    runs: tuple[str, str, str]
    tolerance: float = 1e-4
    file: str = "float32"
    """The precision that the file asks for."""


CPU = EngineChoice(engine="onnxruntime", provider="cpu", threads=1)
VINO = EngineChoice(engine="openvino", threads=1)
ENGINES = {
    "onnxruntime-cpu": Engine(CPU, ("onnxruntime", "CPUExecutionProvider", "float32")),
    "onnxruntime-cpu-throughput": Engine(
        replace(CPU, mode="throughput", threads=2),
        ("onnxruntime", "CPUExecutionProvider", "float32"),
    ),
    "onnxruntime-cuda": Engine(
        replace(CPU, provider="cuda"), ("onnxruntime", "CUDAExecutionProvider", "float32")
    ),
    "onnxruntime-tensorrt": Engine(
        replace(CPU, provider="tensorrt"), ("onnxruntime", "TensorrtExecutionProvider", "float32")
    ),
    "onnxruntime-int8": Engine(CPU, ("onnxruntime", "CPUExecutionProvider", "int8"), 0.1, "int8"),
    # A processor computes such a file in float32; only its parameters are rounded.
    "onnxruntime-float16": Engine(
        CPU, ("onnxruntime", "CPUExecutionProvider", "float32"), 0.02, "float16"
    ),
    "onnxruntime-cuda-float16": Engine(
        replace(CPU, provider="cuda"),
        ("onnxruntime", "CUDAExecutionProvider", "float16"),
        0.02,
        "float16",
    ),
    "onnxruntime-tensorrt-float16": Engine(
        replace(CPU, provider="tensorrt"),
        ("onnxruntime", "TensorrtExecutionProvider", "float16"),
        0.02,
        "float16",
    ),
    "openvino-float32": Engine(VINO, ("openvino", "CPU", "float32")),
    "openvino-float32-throughput": Engine(
        replace(VINO, mode="throughput", threads=2), ("openvino", "CPU", "float32")
    ),
    "openvino-bfloat16": Engine(
        replace(VINO, precision="bfloat16"), ("openvino", "CPU", "bfloat16"), 0.05
    ),
    "openvino-int8": Engine(VINO, ("openvino", "CPU", "int8"), 0.1, "int8"),
    "openvino-float16": Engine(VINO, ("openvino", "CPU", "float32"), 0.02, "float16"),
}


def tiny_network(seed: int = 0) -> MetaGait:
    """Make a network whose convolutions are just large enough to become integers."""
    torch.manual_seed(seed)
    made = MetaGait(NetworkConfig(channels=(16, 16, 32), dimensions=5)).eval()
    # A fresh head gives embeddings near zero; parity must be judged on numbers of a real size.
    with torch.no_grad():
        made.head.weight.mul_(50)
    return made


def tiny_file(temporary: pytest.TempPathFactory) -> Path:
    """Export the tiny network, once in a run of the tests: to trace it takes half a minute."""
    base = temporary.getbasetemp()
    # Processes that share the tests have their folders side by side.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "engines"
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.onnx"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            export_onnx(tiny_network(), path, name="tiny", threshold=THRESHOLD)
    return path


def quantised_file(source: Path, path: Path) -> Path:
    """Put the convolutions of an exported network into integers by the walks of these tests."""
    facts = replace(OnnxEncoder.open(source, threads=1).facts, precision="int8")
    walks = iter([walk(9, seed) for seed in range(3)])
    write_model(quantise(onnx.load(source), walks, "shifted"), facts, path, lambda _: None)
    return path


def halved_file(source: Path, path: Path) -> Path:
    """Put the features of an exported network into 16 bits."""
    facts = replace(OnnxEncoder.open(source, threads=1).facts, precision="float16")
    write_model(halve(onnx.load(source), "shifted"), facts, path, lambda _: None)
    return path


def with_facts(model: Path, path: Path, **changes: object) -> Path:
    """The same graph under other facts."""
    graph = onnx.load(str(model))
    (entry,) = [each for each in graph.metadata_props if each.key == METADATA_KEY]
    facts = read_facts(entry.value, b"", model)
    entry.key, entry.value = METADATA_KEY, replace(facts, **changes).to_json()  # type: ignore[arg-type]
    path.write_bytes(graph.SerializeToString())
    return path


def walk(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((frames, 64, 44))
    return np.where(noise < 0.3, 255, 0).astype(np.uint8)


def installed(choice: EngineChoice, model: Path) -> Encoder:
    try:
        return open_encoder(model, choice)
    except ProviderError as error:
        if (choice.engine, choice.provider) == ("onnxruntime", "cpu"):
            raise  # It comes with what the tests need: a skip would hide that it is broken.
        pytest.skip(f"does not run here: {error}")
