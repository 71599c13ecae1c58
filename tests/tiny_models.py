"""ONNX files with a network small enough to work out by hand, in the form that export writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.encoder import METADATA_KEY
from tests.fakes import PARTS, SIZE, facts


def tiny_model(path: Path, name: str, *, dimensions: int, factor: float = 1.0) -> Path:
    """Write a model whose embedding is the walk's outline, in PARTS × `dimensions` blocks.

    The outline is the largest pixel over time, so that padding a batch changes nothing.
    """
    block = (SIZE[0] // PARTS, SIZE[1] // dimensions)
    nodes = [
        helper.make_node("Cast", ["silhouettes"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["outline"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["outline"], ["blocks"], kernel_shape=block, strides=block),
        helper.make_node("Squeeze", ["blocks", "channel"], ["parts"]),
        helper.make_node("Mul", ["parts", "factor"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [
            helper.make_tensor_value_info("silhouettes", TensorProto.UINT8, ["N", "T", *SIZE]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", PARTS, dimensions])],
        [
            numpy_helper.from_array(np.array([1], np.int64), "channel"),
            numpy_helper.from_array(np.array(factor / 255, np.float32), "factor"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    described = replace(facts(), name=name, dimensions=dimensions)
    entry.key, entry.value = METADATA_KEY, described.to_json()
    onnx.save(model, path)
    return path
