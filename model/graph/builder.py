"""Helper that collects the nodes and constants of a rewritten piece of a graph."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

SLOPE = 0.01
"""Negative slope of every LeakyReLU in the networks."""


class Builder:
    """Collects nodes and constants whose names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        name = output or f"{self.prefix}/{kind.lower()}_{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [name], name=f"{self.prefix}/{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in attributes)
        self.nodes.append(node)
        return name

    def constant(self, values: ArrayLike, dtype: type = np.int64) -> str:
        """Add an array, of integers by default, and return its name."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape `value`; 0 keeps an axis and -1 takes what is left."""
        return self.add("Reshape", value, self.constant(shape))
