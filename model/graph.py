"""An exported graph, rewritten: the same embeddings from fewer multiplications.

Nine tenths of the time of `model.network.MetaGait` lie in six 3×3×3 convolutions
(docs/performance.md). Here each pair of them, whole plane and strips, becomes two 3×3
convolutions over windows of steps, which runtimes compute with their best kernels:

* "shifted": the three steps that an answer depends on lie in the channels;
* "winograd": as many products as that for m steps give more than m: F(4, 3) of Lavin and Gray,
  "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, along time. Six products instead
  of twelve for four steps, and both convolutions share the transformed input.

The parameters stay what and where they were: what is folded is computed from them by the graph
itself, once, when a runtime loads it. So a file can be trained further, and rewritten again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from model.errors import ExportError

Form = Literal["plain", "shifted", "winograd"]
FORMS: tuple[Form, ...] = get_args(Form)

GRAPH_KEY = "metagait.graph"
"""Key of the ONNX metadata under which the form and the blocks stand as JSON."""

_SLOPE = 0.01
_WHOLE = ".whole.weight"


@dataclass(frozen=True)
class Window:
    """How `steps` answers of a convolution with three taps come from `steps + 2` inputs.

    ``answers = fall (raise_kernel kernel * lift inputs)``, the product number by number.
    """

    steps: int
    lift: NDArray[np.float32]
    raise_kernel: NDArray[np.float32]
    fall: NDArray[np.float32]


def _matrix(*rows: Sequence[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


WINOGRAD = Window(
    steps=4,
    lift=_matrix(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    raise_kernel=_matrix(
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    fall=_matrix(
        (1, 1, 1, 1, 1, 0),
        (0, 1, -1, 2, -2, 0),
        (0, 1, 1, 4, 4, 0),
        (0, 1, -1, 8, -8, 1),
    ),
)


@dataclass(frozen=True)
class Block:
    """A `GlobalLocalConv` found in a graph: `[N, C, T, H, W]` to `[N, C', T, H or 2H, W]`."""

    name: str
    features: str
    """The value that it reads."""
    result: str
    """The value that it writes."""
    join: str
    inputs: int
    outputs: int
    plane: tuple[int, int]
    strip: int
    """Rows of a strip."""


class Builder:
    """Collects nodes and constants whose names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node, and return the name of what it gives."""
        name = output or f"{self.prefix}/{kind.lower()}_{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [name], name=f"{self.prefix}/{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in attributes)
        self.nodes.append(node)
        return name

    def constant(self, values: ArrayLike, dtype: type = np.int64) -> str:
        """Add an array, of whole numbers where nothing is said, and return its name."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """Reshape; 0 keeps an axis and -1 takes what is left."""
        return self.add("Reshape", value, self.constant(shape))


def rewrite(model: onnx.ModelProto, form: Form) -> onnx.ModelProto:
    """Return a copy of an exported model in another form; what it was before does not matter.

    A graph without the blocks of MetaGait (GaitSet's) stays as it is.

    Raises:
        ExportError: a block does not look as `metagait export` writes it.

    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    was, blocks = _described(copy) or ("plain", find_blocks(copy.graph))
    if form != was:
        for block in blocks:
            _replace(copy.graph, block, form)
    described = {"form": form, "blocks": [asdict(block) for block in blocks]}
    helper.set_model_props(copy, _properties(copy) | {GRAPH_KEY: json.dumps(described)})
    return copy


def form_of(model: onnx.ModelProto) -> Form:
    """The form that a model is in."""
    described = _described(model)
    return described[0] if described else "plain"


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


def _properties(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _described(model: onnx.ModelProto) -> tuple[Form, list[Block]] | None:
    """Read what an earlier `rewrite` wrote down about the graph."""
    text = _properties(model).get(GRAPH_KEY)
    if text is None:
        return None
    try:
        described = json.loads(text)
        blocks = [Block(**{**b, "plane": tuple(b["plane"])}) for b in described["blocks"]]
        return FORMS[FORMS.index(described["form"])], blocks
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"what the file says of its graph cannot be read: {error!r}") from error


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


def _replace(graph: onnx.GraphProto, block: Block, form: Form) -> None:
    """Put a block's new nodes where its last one stood, and drop those that nothing needs."""
    build = Builder(f"{block.name}.{form}")
    if form == "plain":
        _write_plain(build, block)
    else:
        _write(build, block, WINOGRAD if form == "winograd" else None)
    nodes = list(graph.node)
    place = next(i for i, node in enumerate(nodes) if block.result in node.output)
    nodes[place : place + 1] = build.nodes
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(build.constants)
    for values in (graph.initializer, graph.value_info):
        gone = [value for value in values if value.name not in needed]
        for value in gone:
            values.remove(value)


def _write_plain(build: Builder, block: Block) -> None:
    """Write the block as `model.network.GlobalLocalConv` computes it."""
    (height, width), count = block.plane, block.plane[0] // block.strip
    frames = build.add("Shape", block.features, start=2, end=3)

    def convolved(features: str, part: str) -> str:
        made = build.add("Conv", features, f"{block.name}.{part}.weight", pads=[1] * 6)
        return build.add("LeakyRelu", made, alpha=_SLOPE)

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


def _write(build: Builder, block: Block, window: Window | None) -> None:
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
    joined = (
        build.add("Add", *halves) if block.join == "sum" else build.add("Concat", *halves, axis=2)
    )  # N·tiles·m,C',H or 2H,W
    _back(build, block, turned, joined)


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
    """Convolve and activate: `[B, (m+2)·C, h, W]` to `[B, m, C'·h·W]`."""
    weight = f"{block.name}.{part}.weight"  # C',C,3,3,3
    rows = block.plane[0] if part == "whole" else block.strip
    size = block.outputs * rows * block.plane[1]
    if window is None:
        turned = build.add("Transpose", weight, perm=[0, 2, 1, 3, 4])
        kernel = build.reshape(turned, block.outputs, 3 * block.inputs, 3, 3)
        made = build.add("Conv", planes, kernel, pads=[1] * 4)
        return build.reshape(build.add("LeakyRelu", made, alpha=_SLOPE), -1, 1, size)
    taps = build.reshape(build.add("Transpose", weight, perm=[2, 0, 1, 3, 4]), 3, -1)
    raised = build.add("MatMul", build.constant(window.raise_kernel, np.float32), taps)
    products = window.steps + 2
    kernel = build.reshape(raised, products * block.outputs, block.inputs, 3, 3)
    made = build.add("Conv", planes, kernel, pads=[1] * 4, group=products)
    fallen = build.add(
        "MatMul", build.constant(window.fall, np.float32), build.reshape(made, -1, products, size)
    )
    return build.add("LeakyRelu", fallen, alpha=_SLOPE)


def _back(build: Builder, block: Block, turned: str, joined: str) -> None:
    """Put the steps in order: `[N·tiles·m, C', H', W]` to `[N, C', T, H', W]`."""
    height = block.plane[0] * (1 if block.join == "sum" else 2)
    walks = build.add("Shape", turned, start=0, end=1)
    shape = build.add(
        "Concat", walks, build.constant([-1, block.outputs, height, block.plane[1]]), axis=0
    )
    steps = build.add("Reshape", joined, shape)  # N,tiles·m,C',H',W
    frames = build.add("Shape", turned, start=1, end=2)
    kept = build.add("Slice", steps, build.constant([0]), frames, build.constant([1]))
    build.add("Transpose", kept, perm=[0, 2, 1, 3, 4], output=block.result)
