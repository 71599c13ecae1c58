"""Finds MetaGait's blocks in a graph, and writes them in any form."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from model.errors import ExportError
from model.graph.builder import SLOPE, Builder
from model.graph.windows import Window

_WHOLE = ".whole.weight"


@dataclass(frozen=True)
class Block:
    """A `GlobalLocalConv` found in a graph: `[N, C, T, H, W]` to `[N, C', T, H or 2H, W]`."""

    name: str
    features: str
    """Name of the value that it reads."""
    result: str
    """Name of the value that it writes."""
    join: str
    inputs: int
    outputs: int
    plane: tuple[int, int]
    strip: int
    """Rows per strip."""


def find_blocks(graph: onnx.GraphProto) -> list[Block]:
    """Find the blocks of a plain graph by the names of their parameters.

    Raises:
        ExportError: a block does not look as `metagait export` writes it.

    """
    convolutions = {node.input[1]: node for node in graph.node if node.op_type == "Conv"}
    wholes = [tensor.name for tensor in graph.initializer if tensor.name.endswith(_WHOLE)]
    try:
        return [_block(graph, convolutions, name.removesuffix(_WHOLE)) for name in wholes]
    except (KeyError, StopIteration, ValueError) as error:
        raise ExportError(
            f"expected blocks as `metagait export` writes them, got others: {error!r}"
        ) from error


def _block(graph: onnx.GraphProto, convolutions: Mapping[str, onnx.NodeProto], name: str) -> Block:
    whole, local = (convolutions[f"{name}.{part}.weight"] for part in ("whole", "local"))
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in graph.value_info
    }
    _, inputs, _, height, width = shapes[whole.input[0]]
    activated = next(node for node in graph.node if whole.output[0] in node.input)
    joined = next(node for node in graph.node if activated.output[0] in node.input)
    if (activated.op_type, joined.op_type) not in {("LeakyRelu", "Add"), ("LeakyRelu", "Concat")}:
        raise ValueError(f"{activated.op_type} and {joined.op_type} after {name}")
    return Block(
        name=name,
        features=whole.input[0],
        result=joined.output[0],
        join="sum" if joined.op_type == "Add" else "concat",
        inputs=inputs,
        outputs=shapes[whole.output[0]][1],
        plane=(height, width),
        strip=shapes[local.input[0]][3],
    )


def write_plain(build: Builder, block: Block) -> None:
    """Write the block as `model.network.GlobalLocalConv` computes it."""
    (height, width), count = block.plane, block.plane[0] // block.strip
    frames = build.add("Shape", block.features, start=2, end=3)

    def convolved(features: str, part: str) -> str:
        made = build.add("Conv", features, f"{block.name}.{part}.weight", pads=[1] * 6)
        return build.add("LeakyRelu", made, alpha=SLOPE)

    cut = build.reshape(block.features, 0, 0, 0, count, block.strip * width)
    cut = build.add("Transpose", cut, perm=[0, 3, 1, 2, 4])  # N,S,C,T,H/S·W
    shape = [build.constant([-1, block.inputs]), frames, build.constant([block.strip, width])]
    strips = build.add("Reshape", cut, build.add("Concat", *shape, axis=0))
    local = convolved(strips, "local")  # N·S,C',T,H/S,W
    shape = [build.constant([-1, count, block.outputs]), frames]
    shape.append(build.constant([block.strip * width]))
    local = build.add("Reshape", local, build.add("Concat", *shape, axis=0))
    local = build.add("Transpose", local, perm=[0, 2, 3, 1, 4])
    halves = [convolved(block.features, "whole"), build.reshape(local, 0, 0, 0, height, width)]
    if block.join == "sum":
        build.add("Add", *halves, output=block.result)
    else:
        build.add("Concat", *halves, axis=3, output=block.result)


def write_windows(build: Builder, block: Block, window: Window | None) -> None:
    """Write the block as two convolutions over windows of steps; None means one step each."""
    steps = 1 if window is None else window.steps
    (height, width), outputs = block.plane, block.outputs
    turned = build.add("Transpose", block.features, perm=[0, 2, 1, 3, 4])  # N,T,C,H,W
    planes = _windows(build, block, turned, window)  # N·tiles,(m+2)·C,H,W
    whole = _convolved(build, block, planes, "whole", window)  # N·tiles,m,C'·H·W
    cut = build.reshape(planes, 0, 0, height // block.strip, block.strip, width)
    cut = build.add("Transpose", cut, perm=[0, 2, 1, 3, 4])
    channels = (steps + 2) * block.inputs
    strips = build.reshape(cut, -1, channels, block.strip, width)  # N·tiles·S,(m+2)·C,H/S,W
    local = _convolved(build, block, strips, "local", window)  # N·tiles·S,m,C'·H/S·W
    local = build.reshape(local, -1, height // block.strip, steps * outputs, block.strip * width)
    local = build.add("Transpose", local, perm=[0, 2, 1, 3])  # N·tiles,m·C',S,H/S·W
    halves = [build.reshape(half, -1, outputs, height, width) for half in (whole, local)]
    # Activate last, so that the operations that only move numbers directly follow the convolution
    # and share its precision.
    halves = [build.add("LeakyRelu", half, alpha=SLOPE) for half in halves]
    joined = (
        build.add("Add", *halves) if block.join == "sum" else build.add("Concat", *halves, axis=2)
    )  # N·tiles·m,C',H or 2H,W
    _back(build, block, turned, joined, cut=steps > 1)


def _windows(build: Builder, block: Block, turned: str, window: Window | None) -> str:
    """Cut time into overlapping windows: `[N, T, C, H, W]` to `[N·tiles, (m+2)·C, H, W]`."""
    m, (height, width) = (1 if window is None else window.steps), block.plane
    one, step = build.constant([1]), build.constant([m])
    frames = build.add("Shape", turned, start=1, end=2)
    tiles = build.add("Div", build.add("Add", frames, build.constant([m - 1])), step)
    covered = build.add("Mul", tiles, step)
    behind = build.add("Add", build.add("Sub", covered, frames), one)
    padding = build.add("Concat", one, behind, axis=0)
    padded = build.add("Pad", turned, padding, "", one)
    starts = build.add("Range", build.constant(0), build.add("Squeeze", covered), build.constant(m))
    column = build.add("Unsqueeze", starts, one)
    rows = build.add("Add", column, build.constant([range(m + 2)]))
    cut = build.add("Gather", padded, rows, axis=1)  # N,tiles,m+2,C,H,W
    if window is None:
        return build.reshape(cut, -1, 3 * block.inputs, height, width)
    flat = build.reshape(cut, -1, m + 2, block.inputs * height * width)
    lifted = build.add("MatMul", build.constant(window.lift, np.float32), flat)
    return build.reshape(lifted, -1, (m + 2) * block.inputs, height, width)


def _convolved(build: Builder, block: Block, planes: str, part: str, window: Window | None) -> str:
    """Convolve `[B, (m+2)·C, h, W]` to `[B, m, C'·h·W]`."""
    weight = f"{block.name}.{part}.weight"  # C',C,3,3,3
    rows = block.plane[0] if part == "whole" else block.strip
    size = block.outputs * rows * block.plane[1]
    if window is None:
        turned = build.add("Transpose", weight, perm=[0, 2, 1, 3, 4])
        kernel = build.reshape(turned, block.outputs, 3 * block.inputs, 3, 3)
        made = build.add("Conv", planes, kernel, pads=[1] * 4)
        return build.reshape(made, -1, 1, size)
    taps = build.reshape(build.add("Transpose", weight, perm=[2, 0, 1, 3, 4]), 3, -1)
    raised = build.add("MatMul", build.constant(window.raise_kernel, np.float32), taps)
    products = window.steps + 2
    kernel = build.reshape(raised, products * block.outputs, block.inputs, 3, 3)
    made = build.add("Conv", planes, kernel, pads=[1] * 4, group=products)
    flat = build.reshape(made, -1, products, size)
    return build.add("MatMul", build.constant(window.fall, np.float32), flat)


def _back(build: Builder, block: Block, turned: str, joined: str, *, cut: bool) -> None:
    """Reorder `[N·tiles·m, C', H', W]` to `[N, C', T, H', W]`, cutting off surplus steps."""
    height = block.plane[0] * (1 if block.join == "sum" else 2)
    walks = build.add("Shape", turned, start=0, end=1)
    shape = build.add(
        "Concat", walks, build.constant([-1, block.outputs, height, block.plane[1]]), axis=0
    )
    steps = build.add("Reshape", joined, shape)  # N,tiles·m,C',H',W
    if cut:
        frames = build.add("Shape", turned, start=1, end=2)
        steps = build.add("Slice", steps, build.constant([0]), frames, build.constant([1]))
    build.add("Transpose", steps, perm=[0, 2, 1, 3, 4], output=block.result)
