"""What an engine refuses: files that are not ours, and what this machine lacks."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from model.encoder import EngineChoice, open_encoder
from model.engines.open_vino import OpenVinoEncoder
from model.errors import ModelFileError, ProviderError
from tests.engines import CPU, VINO, installed, tiny_file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


@pytest.fixture(params=[CPU, VINO], ids=["onnxruntime", "openvino"])
def choice(request: pytest.FixtureRequest, model: Path) -> EngineChoice:
    chosen: EngineChoice = request.param
    installed(chosen, model).close()
    return chosen


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle"])
def test_a_file_that_is_no_model_is_refused(
    choice: EngineChoice, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="not an ONNX model"):
        open_encoder(tmp_path / "model.onnx", choice)


def test_a_foreign_or_contradictory_file_is_refused(
    choice: EngineChoice, model: Path, tmp_path: Path
) -> None:
    for says, change in [("holds no facts", forget_facts), ("take and give", rename_output)]:
        graph = onnx.load(str(model))
        change(graph)
        path = tmp_path / "changed.onnx"
        path.write_bytes(graph.SerializeToString())
        with pytest.raises(ModelFileError, match=says):
            open_encoder(path, choice)


def forget_facts(graph: onnx.ModelProto) -> None:
    del graph.metadata_props[:]


def rename_output(graph: onnx.ModelProto) -> None:
    graph.graph.output[0].name = graph.graph.node[-1].output[0] = "something"


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (EngineChoice(provider="tpu"), "expected a provider of auto, cpu, cuda"),  # type: ignore[arg-type]
        (EngineChoice(engine="tpu"), "expected an engine of auto"),  # type: ignore[arg-type]
        (EngineChoice(precision="int4"), "expected a precision of model"),  # type: ignore[arg-type]
        (EngineChoice(engine="openvino", provider="cuda"), "provider cpu for OpenVINO"),
        (EngineChoice(precision="bfloat16", provider="cuda"), "provider cpu for OpenVINO"),
        (EngineChoice(engine="onnxruntime", precision="bfloat16"), "engine openvino for bfloat16"),
    ],
)
def test_what_cannot_run_is_refused(model: Path, choice: EngineChoice, says: str) -> None:
    with pytest.raises(ProviderError, match=says):
        open_encoder(model, choice)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_an_absent_provider_is_an_error_and_no_fallback(model: Path, provider: str) -> None:
    import onnxruntime

    choice = replace(CPU, provider=provider)  # type: ignore[arg-type]
    name = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[provider]
    if name in onnxruntime.get_available_providers():
        pytest.skip(f"{name} is there")
    with pytest.raises(ProviderError, match=f"{name} was asked for, but .*'gpu' installs"):
        open_encoder(model, choice)


def test_a_missing_wheel_and_a_cpu_without_bfloat16_are_named(model: Path) -> None:
    with pytest.raises(ProviderError, match="extra 'openvino' installs"):
        OpenVinoEncoder.open(model, load=lambda: None)
    installed(VINO, model).close()
    with pytest.raises(ProviderError, match="bfloat16 was asked for, but this CPU has only FP32"):
        OpenVinoEncoder.open(model, precision="bfloat16", load=OldProcessor)
    with pytest.raises(ProviderError, match="but OpenVINO has only GPU"):
        OpenVinoEncoder.open(model, load=lambda: OldProcessor(["GPU"]))


class OldProcessor:
    """What OpenVINO says of a machine that has less than this one."""

    def __init__(self, devices: tuple[str, ...] | list[str] = ("CPU",)) -> None:
        self.available_devices = list(devices)

    def get_property(self, _device: str, _name: str) -> list[str]:
        return ["FP32", "INT8"]
