"""`metagait halve`: writes a model whose convolutions use 16-bit floats, for a GPU.

    metagait halve model/weights/metagait.onnx metagait-float16.onnx --casia-a FOLDER

Features are float16 from the frames to the output of the last block: the convolutions, which take
nearly all the time, and everything between them, so that nothing is widened on the way. What is
computed from means over the features (attention), and everything after the last block (temporal
pooling, whose logarithms and powers exceed the range of 16 bits, head and neck), stays float32. So
do the parameters, which a runtime rounds once when it loads the file; a training can therefore
start from it.

CPUs have no kernels for float16. They compute such a file in float32 with rounded parameters,
slower than its source, so rank-1 is most meaningful when measured on CUDA.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from model.errors import ExportError
from model.graph import FORMS, GRAPH_KEY, Form, frames_of, rewrite
from model.manifest import read_model
from model.variants import add_arguments, opened_source, terms_of, write_variant

_EVERY = slice(None)
# Operations that run in float16 once one of their inputs does, and which of their inputs are such
# numbers; the others are shapes, indices and axes.
_NUMBERS = {
    "Add": _EVERY,
    "Concat": _EVERY,
    "Conv": _EVERY,
    "Gather": slice(1),
    "LeakyRelu": _EVERY,
    "MatMul": _EVERY,
    "MaxPool": _EVERY,
    "Mul": _EVERY,
    "Pad": slice(0, 3, 2),
    "Reshape": slice(1),
    "Slice": slice(1),
    "Transpose": slice(1),
}
_ANY = frozenset({"Shape"})
"""Operations whose result does not depend on the number type."""


def halve(model: onnx.ModelProto, form: Form) -> onnx.ModelProto:
    """Return the model in a form of `model.graph`, with its features in float16.

    Inputs, output, parameters and metadata stay unchanged.

    Raises:
        ExportError: the graph has no MetaGait blocks.

    """
    copy = rewrite(model, form)
    frames = frames_of(copy)
    if frames is None:
        raise ExportError("expected a model of MetaGait's blocks, got one without any")
    narrow = {frames}
    nodes = list(_cast(copy.graph.node, narrow, frames))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    for value in copy.graph.value_info:
        if value.name in narrow - {frames}:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    properties = {e.key: e.value for e in copy.metadata_props if e.key != GRAPH_KEY}
    helper.set_model_props(copy, properties)
    return copy


def _cast(
    nodes: Sequence[onnx.NodeProto], narrow: set[str], frames: str
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes, each preceded by the casts that its inputs need.

    `narrow` initially contains the frames, which stay float32 themselves, and collects the names of
    all float16 values.
    """
    there = {"": ""}
    for node in nodes:
        if narrow.isdisjoint(node.input) or node.op_type in _ANY:
            yield node
            continue
        narrows = node.op_type in _NUMBERS
        places = range(len(node.input))[_NUMBERS.get(node.op_type, _EVERY)]
        for place in places:
            name = node.input[place]
            wide = name not in narrow or name == frames
            if wide != narrows:
                continue
            kind, suffix = (
                (TensorProto.FLOAT16, ".half") if narrows else (TensorProto.FLOAT, ".whole")
            )
            if name not in there:
                there[name] = name + suffix
                yield helper.make_node("Cast", [name], [there[name]], name=there[name], to=kind)
            node.input[place] = there[name]
        if narrows:
            narrow.update(node.output)
        yield node


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait halve`."""
    add_arguments(parser)
    parser.add_argument(
        "--form",
        choices=FORMS,
        default="shifted",
        help="how the convolutions are computed; docs/model.md explains them (default: "
        "%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert, measure, and write the result if it is good enough."""
    source = opened_source(arguments)
    if source.facts.precision != "float32":
        raise ExportError(f"expected a float32 model, got one in {source.facts.precision}")
    if source.runtime.on_cpu:
        print("no CUDA here: rank-1 is measured with rounded parameters and float32 features")
    terms = terms_of(arguments, source.facts.size)
    halved = halve(onnx.load_from_string(read_model(arguments.model)), arguments.form)
    facts = replace(source.facts, name=f"{source.facts.name}-float16", precision="float16")
    written = write_variant(halved, facts, arguments.output, source=source, terms=terms)
    print(f"{arguments.output}: {written.model_id}, {arguments.output.stat().st_size:,} bytes")
    return 0
