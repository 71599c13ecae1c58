"""The compute ceiling of a machine per precision: the fastest dense kernel found here.

There are two kernels of known size, a matrix product (1024³) and a 3×3 convolution (256 to 256
channels, 28×28 pixels), each on ONNX Runtime and OpenVINO. Their operands fit the caches and their
loops only multiply and add, so the best rate among them is taken as the ceiling. int8 is the same
graph between QuantizeLinear and DequantizeLinear. A multiply-add counts as two operations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.engines import onnxruntime

_SIDE, _CHANNELS, _PIXELS = 1024, 256, 28
_PRODUCT_FLOP = 2 * _SIDE**3
_CONVOLUTION_FLOP = 2 * 9 * _CHANNELS**2 * _PIXELS**2


@dataclass(frozen=True)
class Kernel:
    """A dense computation of `flop` operations in one precision."""

    name: str
    precision: str
    flop: int
    run: Callable[[], object]


def kernels(threads: int) -> list[Kernel]:
    """Return every kernel that runs here, with this many CPU threads."""
    return [
        kernel
        for name, flop, shape, graph in _graphs()
        for kernel in _on_every_engine(name, flop, shape, graph, threads)
    ]


def _graphs() -> Iterator[tuple[str, int, tuple[int, ...], bytes]]:
    image, square = (1, _CHANNELS, _PIXELS, _PIXELS), (_SIDE, _SIDE)
    filters = (_CHANNELS, _CHANNELS, 3, 3)
    for quantised in (False, True):
        suffix = " int8" if quantised else ""
        product = _graph("MatMul", square, square, quantised=quantised)
        convolution = _graph("Conv", image, filters, quantised=quantised, pads=[1, 1, 1, 1])
        yield "product" + suffix, _PRODUCT_FLOP, square, product
        yield "convolution" + suffix, _CONVOLUTION_FLOP, image, convolution


def _graph(
    operator: str, taken: tuple[int, ...], constant: tuple[int, ...], *, quantised: bool, **how: Any
) -> bytes:
    weights = np.random.default_rng(0).standard_normal(constant).astype(np.float32)
    initializers = [numpy_helper.from_array(weights, "w")]
    nodes = [helper.make_node(operator, ["x", "w"], ["y"], **how)]
    if quantised:
        narrow = np.clip(weights * 40, -127, 127).astype(np.int8)
        initializers = [
            numpy_helper.from_array(narrow, "w8"),
            numpy_helper.from_array(np.float32(0.025), "scale"),
            numpy_helper.from_array(np.uint8(128), "zero"),
            numpy_helper.from_array(np.int8(0), "none"),
            numpy_helper.from_array(np.float32(2.0), "wide"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x8"]),
            helper.make_node("DequantizeLinear", ["x8", "scale", "zero"], ["xf"]),
            helper.make_node("DequantizeLinear", ["w8", "scale", "none"], ["wf"]),
            helper.make_node(operator, ["xf", "wf"], ["f"], **how),
            helper.make_node("QuantizeLinear", ["f", "wide", "zero"], ["y8"]),
            helper.make_node("DequantizeLinear", ["y8", "wide", "zero"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        operator,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, taken)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return content


def _on_every_engine(
    name: str, flop: int, shape: tuple[int, ...], graph: bytes, threads: int
) -> Iterator[Kernel]:
    given = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    plain = "int8" if name.endswith("int8") else "float32"
    yield Kernel(f"{name}, ONNX Runtime", plain, flop, _onnxruntime(graph, given, threads))
    for precision, run in _openvino(graph, given, threads, plain):
        yield Kernel(f"{name}, OpenVINO", precision, flop, run)


def _onnxruntime(graph: bytes, given: NDArray[np.float32], threads: int) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # As in the service's encoder: threads that spin after a run would slow down what follows.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": given})


def _openvino(
    graph: bytes, given: NDArray[np.float32], threads: int, plain: str
) -> Iterator[tuple[str, Callable[[], object]]]:
    try:
        import openvino
    except ImportError:
        return
    core = openvino.Core()
    hints = {plain: "f32"}
    if plain == "float32" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints["bfloat16"] = "bf16"
    for precision, hint in hints.items():
        properties = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(core.read_model(model=graph), "CPU", properties)
        request = compiled.create_infer_request()
        yield precision, lambda request=request: request.infer({"x": given})
