"""Finds MetaGait's stem in a graph, and writes it plain or in 2-D.

The stem is a 3×3×3 convolution and one that merges three frames into a step. In 2-D, five frames
become the 3·C channels of a step, and those its C channels, so that no data except the frames
themselves is moved between the two.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from model.errors import ExportError
from model.graph.builder import SLOPE, Builder

_FRAMES = 3
"""Frames per step, which is also the length of either kernel in time."""
_READ = _FRAMES + 2


@dataclass(frozen=True)
class Stem:
    """The stem's two convolutions in a graph: `[N, 1, T, H, W]` to `[N, C, T / 3, H, W]`."""

    frames: str
    """Name of the value that they read."""
    result: str
    """Name of the value that they write."""
    outputs: int
    plane: tuple[int, int]

    name: str = "stem"


def find_stem(graph: onnx.GraphProto) -> Stem | None:
    """Find the stem of a plain graph by its parameters; None if there is none (GaitSet's).

    Raises:
        ExportError: it does not look as `metagait export` writes it.

    """
    readers = {name: node for node in graph.node for name in node.input}
    if not {"stem.weight", "compress.weight"} <= set(readers):
        return None
    node = first = readers["stem.weight"]
    for kind in ("LeakyRelu", "Conv", "LeakyRelu"):
        node = readers[node.output[0]]
        if node.op_type != kind:
            raise ExportError(f"expected a stem as `metagait export` writes it, got {node.op_type}")
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in graph.value_info
    }
    _, _, _, height, width = shapes[first.input[0]]
    outputs = next(t.dims[0] for t in graph.initializer if t.name == "compress.weight")
    return Stem(first.input[0], node.output[0], outputs, (height, width))


def write_stem(build: Builder, stem: Stem, *, flat: bool) -> None:
    """Write the stem in 2-D if `flat`, else as `model.network.MetaGait` computes it."""
    if flat:
        _write_flat(build, stem)
        return
    made = build.add("Conv", stem.frames, "stem.weight", pads=[1] * 6)
    made = build.add("LeakyRelu", made, alpha=SLOPE)
    made = build.add("Conv", made, "compress.weight", strides=[_FRAMES, 1, 1])
    build.add("LeakyRelu", made, alpha=SLOPE, output=stem.result)


def _write_flat(build: Builder, stem: Stem) -> None:
    (height, width), outputs = stem.plane, stem.outputs
    one, step = build.constant([1]), build.constant([_FRAMES])
    walks = build.add("Shape", stem.frames, start=0, end=1)
    count = build.add("Shape", stem.frames, start=2, end=3)
    covered = build.add("Mul", build.add("Div", count, step), step)
    shape = build.add("Concat", walks, count, build.constant([height, width]), axis=0)
    frames = build.add("Reshape", stem.frames, shape)  # N,T,H,W
    padded = build.add("Pad", frames, build.constant([1, 1]), "", one)
    starts = build.add(
        "Range", build.constant(0), build.add("Squeeze", covered), build.constant(_FRAMES)
    )
    rows = build.add("Add", build.add("Unsqueeze", starts, one), build.constant([range(_READ)]))
    cut = build.add("Gather", padded, rows, axis=1)  # N,T/3,5,H,W
    planes = build.reshape(cut, -1, _READ, height, width)
    made = build.add("Conv", planes, _first_kernel(build, outputs), pads=[1] * 4)
    made = build.add("LeakyRelu", made, alpha=SLOPE)  # N·T/3,3·C,H,W
    made = build.add("Conv", made, _second_kernel(build, outputs))
    made = build.add("LeakyRelu", made, alpha=SLOPE)  # N·T/3,C,H,W
    shape = build.add("Concat", walks, build.constant([-1, outputs, height, width]), axis=0)
    steps = build.add("Reshape", made, shape)
    build.add("Transpose", steps, perm=[0, 2, 1, 3, 4], output=stem.result)


def _first_kernel(build: Builder, outputs: int) -> str:
    """Build a kernel with which three frames read their neighbours among five: `[3·C, 5, 3, 3]`."""
    turned = build.add("Transpose", "stem.weight", perm=[2, 0, 1, 3, 4])  # 3,C,1,3,3
    placed = build.add(
        "MatMul", build.constant(_places(), np.float32), build.reshape(turned, _FRAMES, -1)
    )
    parts = build.reshape(placed, _FRAMES, _READ, outputs, 9)
    parts = build.add("Transpose", parts, perm=[0, 2, 1, 3])  # 3,C,5,9
    return build.reshape(parts, _FRAMES * outputs, _READ, 3, 3)


def _second_kernel(build: Builder, outputs: int) -> str:
    """Build a kernel that takes the three frames of a step as channels: `[C, 3·C, 1, 1]`."""
    turned = build.add("Transpose", "compress.weight", perm=[0, 2, 1, 3, 4])
    return build.reshape(turned, outputs, _FRAMES * outputs, 1, 1)


def _places() -> NDArray[np.float32]:
    """Return which weight each frame gives to each of the five it may read: `[3·5, 3]`."""
    shifts = [np.eye(_FRAMES, _READ, frame) for frame in range(_FRAMES)]
    return np.concatenate([shift.T for shift in shifts]).astype(np.float32)
