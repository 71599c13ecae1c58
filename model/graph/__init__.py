"""Rewrites an exported ONNX graph so that the same embeddings take fewer multiplications.

Six 3×3×3 convolutions take nine tenths of the time of `model.network.MetaGait`
(docs/performance.md). Here each pair of them (whole plane and strips) becomes two 3×3 convolutions
over windows of time steps, which runtimes compute with their best kernels:

* "shifted": the three steps that an output step depends on become channels;
* "winograd": F(4, 3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
2016, along time. Four steps take six products instead of twelve, and both convolutions share the
transformed input.

The stem before them (a convolution, and one that merges three frames into a step) becomes two 2-D
convolutions. The parameters keep their names and values: whatever is derived from them is computed
by the graph itself, once, when a runtime loads it. So a file can still be trained further, and
rewritten again.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import onnx
from onnx import helper

from model.errors import ExportError
from model.graph.blocks import Block, find_blocks, write_plain, write_windows
from model.graph.builder import Builder
from model.graph.stem import Stem, find_stem, write_stem
from model.graph.windows import WINOGRAD

Form = Literal["plain", "shifted", "winograd"]
FORMS: tuple[Form, ...] = get_args(Form)

GRAPH_KEY = "metagait.graph"
"""Key of the ONNX metadata that holds the form, the blocks and the stem as JSON."""


@dataclass(frozen=True)
class _Described:
    """What a file records about its graph; `stem` is None if it records none."""

    form: Form
    blocks: list[Block]
    stem: Stem | None


def rewrite(model: onnx.ModelProto, form: Form) -> onnx.ModelProto:
    """Return a copy of an exported model in another form, whatever form it is in.

    In a graph without MetaGait blocks (GaitSet's) no node changes.

    Raises:
        ExportError: a block or the stem does not look as `metagait export` writes it.

    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    was = _described(copy) or _Described("plain", find_blocks(copy.graph), None)
    if form != was.form:
        for block in was.blocks:
            _replace(copy.graph, block, form)
    # In files from earlier versions the stem is plain, whatever the form of their blocks.
    stem = was.stem or find_stem(copy.graph)
    if stem is not None and form != (was.form if was.stem else "plain"):
        _replace(copy.graph, stem, form)
    described = json.dumps(asdict(_Described(form, was.blocks, stem)))
    helper.set_model_props(copy, _properties(copy) | {GRAPH_KEY: described})
    return copy


def form_of(model: onnx.ModelProto) -> Form:
    """Return the form that a model is in."""
    described = _described(model)
    return described.form if described else "plain"


def frames_of(model: onnx.ModelProto) -> str | None:
    """Return the value that a rewritten model's stem reads; None if there are no blocks."""
    described = _described(model)
    return described.stem.frames if described and described.stem and described.blocks else None


def blocks_of(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of a rewritten model's blocks."""
    described = _described(model)
    return tuple(block.name for block in described.blocks) if described else ()


def _properties(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _described(model: onnx.ModelProto) -> _Described | None:
    """Parse what an earlier `rewrite` recorded about the graph; None if there is no record."""
    text = _properties(model).get(GRAPH_KEY)
    if text is None:
        return None
    try:
        said = json.loads(text)
        blocks = [Block(**{**b, "plane": tuple(b["plane"])}) for b in said["blocks"]]
        stem = said.get("stem")
        if stem is not None:
            stem = Stem(**{**stem, "plane": tuple(stem["plane"])})
        return _Described(FORMS[FORMS.index(said["form"])], blocks, stem)
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"what the file says of its graph cannot be read: {error!r}") from error


def _replace(graph: onnx.GraphProto, piece: Block | Stem, form: Form) -> None:
    """Insert a piece's new nodes in place of its last one, and remove nodes no longer needed."""
    build = Builder(f"{piece.name}.{form}")
    if isinstance(piece, Stem):
        write_stem(build, piece, flat=form != "plain")
    elif form == "plain":
        write_plain(build, piece)
    else:
        write_windows(build, piece, WINOGRAD if form == "winograd" else None)
    nodes = list(graph.node)
    place = next(i for i, node in enumerate(nodes) if piece.result in node.output)
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
