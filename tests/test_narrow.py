"""Quantisers move to where there is least to quantise, and the numbers stay what they were."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.narrow import move_early


def graph_with(second_scale: float) -> onnx.ModelProto:
    """Windows of three steps, quantised once as they are and once turned."""
    constants: dict[str, NDArray[np.generic]] = {
        "rows": np.array([[0, 1, 2], [1, 2, 3]]),
        "flat": np.array([2, 6]),
        "scale": np.float32(0.02) * np.ones((), np.float32),
        "scale_2": np.float32(second_scale) * np.ones((), np.float32),
        "zero": np.array(7, np.uint8),
        "zero_2": np.array(7, np.uint8),
    }
    nodes = [
        helper.make_node("Gather", ["x", "rows"], ["cut"], axis=0),
        helper.make_node("Reshape", ["cut", "flat"], ["planes"]),
        helper.make_node("QuantizeLinear", ["planes", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["whole"]),
        helper.make_node("Transpose", ["planes"], ["turned"], perm=[1, 0]),
        helper.make_node("QuantizeLinear", ["turned", "scale_2", "zero_2"], ["q_2"]),
        helper.make_node("DequantizeLinear", ["q_2", "scale_2", "zero_2"], ["strips"]),
    ]
    graph = helper.make_graph(
        nodes,
        "windows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 2])],
        [
            helper.make_tensor_value_info("whole", TensorProto.FLOAT, [2, 6]),
            helper.make_tensor_value_info("strips", TensorProto.FLOAT, [6, 2]),
        ],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(model: onnx.ModelProto) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    given = np.linspace(-0.2, 3, 8, dtype=np.float32).reshape(4, 2)
    found: list[NDArray[np.float32]] = session.run(None, {"x": given})
    return found


@pytest.mark.parametrize(("second_scale", "left"), [(0.02, 1), (0.03, 2)])
def test_equal_quantisers_become_one_before_what_only_moves(second_scale: float, left: int) -> None:
    model = graph_with(second_scale)
    expected = answers(model)
    move_early(model.graph)
    onnx.checker.check_model(model, full_check=True)
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantisers) == left
    assert (quantisers[0].input[0] == "x") == (left == 1)
    for got, right in zip(answers(model), expected, strict=True):
        np.testing.assert_array_equal(got, right)
