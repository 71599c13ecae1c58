"""What an engine refuses: files that are not ours, and what this machine lacks."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from model.encoder import EngineChoice, open_encoder
from model.engines import nvidia
from model.engines.onnx_runtime import PROVIDERS
from model.engines.open_vino import OpenVinoEncoder
from model.errors import ModelFileError, ProviderError
from tests.engines import CPU, VINO, installed, tiny_file, with_facts


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
    name = PROVIDERS[provider]
    if name in onnxruntime.get_available_providers():
        pytest.skip(f"{name} is there")
    with pytest.raises(ProviderError, match=f"{name} was asked for, but .*'gpu' installs"):
        open_encoder(model, choice)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_build_for_gpus_without_one_refuses_and_auto_takes_the_cpu(
    model: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*PROVIDERS.values()])
    monkeypatch.setattr(nvidia, "gpus", lambda: 0)
    wanted = replace(CPU, provider=provider)  # type: ignore[arg-type]
    with pytest.raises(ProviderError, match=f"{PROVIDERS[provider]} was asked .* no NVIDIA driver"):
        open_encoder(model, wanted)
    with closing(open_encoder(model, replace(CPU, provider="auto"))) as encoder:
        assert encoder.runtime.provider == "CPUExecutionProvider"


def test_the_cuda_libraries_of_the_extra_are_loaded_before_a_session(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    loaded: list[str] = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*PROVIDERS.values()])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: loaded.append("libraries"))
    monkeypatch.setattr(nvidia, "gpus", lambda: 1)

    def session(*_arguments: object, providers: list[object], **_options: object) -> object:
        loaded.append("session")
        raise RuntimeError(f"no GPU after all, {len(providers)} providers")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(ModelFileError, match="no GPU after all, 2 providers"):
        open_encoder(model, replace(CPU, provider="cuda"))
    assert loaded == ["libraries", "session"]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tensorrt_may_take_16_bits_for_a_file_that_asks_for_them_and_for_no_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    import onnxruntime

    path = with_facts(model, tmp_path / "model.onnx", precision=precision)
    real = onnxruntime.InferenceSession
    asked: list[tuple[str, dict[str, str]]] = []

    def session(content: bytes, options: object, *, providers: list[Any]) -> object:
        if providers == ["CPUExecutionProvider"]:
            return real(content, options, providers=providers)
        asked.extend(each for each in providers if isinstance(each, tuple))
        raise RuntimeError("no GPU after all")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*PROVIDERS.values()])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(nvidia, "gpus", lambda: 1)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(ModelFileError, match="no GPU after all"):
        open_encoder(path, replace(CPU, provider="tensorrt"))
    (tensorrt, options), (cuda, _) = asked
    assert (tensorrt, cuda) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_fp16_enable"] == str(precision == "float16")


class Driver:
    """An NVIDIA driver with so many GPUs, whose calls end in so many errors."""

    def __init__(self, count: int, *, initialised: int = 0, counted: int = 0) -> None:
        self.count, self.initialised, self.counted = count, initialised, counted

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - the driver's own name
        return self.initialised

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 - the driver's own name
        count._obj.value = self.count
        return self.counted


def test_gpus_are_those_of_the_driver_and_none_without_one() -> None:
    def absent(_name: str) -> Driver:
        raise OSError("cannot open shared object file")

    assert nvidia.gpus(absent) == 0
    assert nvidia.gpus(lambda _: Driver(2)) == 2
    assert nvidia.gpus(lambda _: Driver(2, initialised=100)) == 0
    assert nvidia.gpus(lambda _: Driver(2, counted=3)) == 0


@pytest.mark.parametrize("error", [ImportError("libtbb.so.12"), RuntimeError("no plugins.xml")])
def test_a_wheel_that_cannot_be_loaded_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    installed(VINO, model).close()
    import openvino

    def core() -> None:
        raise error

    monkeypatch.setattr(openvino, "Core", core)
    with pytest.raises(ProviderError, match=f"installed but cannot be loaded: {error}"):
        open_encoder(model, VINO)


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
