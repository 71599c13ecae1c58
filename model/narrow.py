"""Moves the quantisers of a graph to where they have the least to quantise.

`onnxruntime.quantization` places each directly before its convolution, after the windows and strips
have been cut, which repeat every number three times. The operations in between only move numbers,
so they give the same result on quantised ones.
"""

import onnx
from onnx import numpy_helper

_MOVERS = {"Gather", "Reshape", "Transpose"}


def move_early(graph: onnx.GraphProto) -> None:
    """Move every QuantizeLinear ahead of nodes that only move numbers, and merge equal ones."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    while _move_one(graph, constants):
        pass


def _move_one(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto]) -> bool:
    for mover in graph.node:
        if mover.op_type in _MOVERS:
            readers = [node for node in graph.node if mover.output[0] in node.input]
            scales = {_scale(node, constants) for node in readers}
            if len(scales) == 1 and None not in scales:
                _swap(graph, mover, readers)
                return True
    return False


def _scale(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> tuple[bytes, ...] | None:
    """Return scale and zero point of a quantiser as bytes; None for any other node."""
    if node.op_type != "QuantizeLinear" or not set(node.input[1:]) <= set(constants):
        return None
    return tuple(numpy_helper.to_array(constants[name]).tobytes() for name in node.input[1:])


def _swap(graph: onnx.GraphProto, mover: onnx.NodeProto, quantisers: list[onnx.NodeProto]) -> None:
    """Put the first quantiser before the mover, whose output then replaces those of all."""
    first = onnx.NodeProto()
    first.CopyFrom(quantisers[0])
    narrow, early = first.output[0], f"{mover.input[0]}/{first.output[0]}"
    first.input[0], first.output[0] = mover.input[0], early
    mover.input[0], mover.output[0] = early, narrow
    others = {quantiser.output[0] for quantiser in quantisers[1:]}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in others:
                node.input[place] = narrow
    nodes = [node for node in graph.node if node not in quantisers]
    nodes.insert(nodes.index(mover), first)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
