"""`metagait quantise`: writes a model whose large convolutions use 8-bit integers.

    metagait quantise model/weights/metagait.onnx metagait-int8.onnx --casia-a FOLDER

Quantisation is static and calibrated on walkers: weights per channel, inputs and outputs of a
convolution with one scale each (QDQ, which both ONNX Runtime and OpenVINO read). Everything else
stays float32: the first layers, whose input is nearly binary, attention, pooling and head take
little time and would lose the most accuracy.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from model.errors import ExportError
from model.graph import FORMS, GRAPH_KEY, Form, blocks_of, rewrite
from model.manifest import read_model
from model.narrow import move_early
from model.variants import add_arguments, opened_source, terms_of, write_variant
from model.walkers import CONDITIONS, VIEWS, packed_walk

WALKERS = range(1, 25)
"""Subjects whose walks determine the scales; trainings use them too, benchmarks never."""


class Walks(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the quantiser one walk at a time, cycling through conditions and views."""

    def __init__(self, walks: Iterator[NDArray[np.uint8]]) -> None:
        self._walks = walks

    def get_next(self) -> dict[str, Any] | None:
        """Return the next walk as inputs of the graph, or None after the last."""
        walk = next(self._walks, None)
        if walk is None:
            return None
        return {"silhouettes": walk[None], "lengths": np.array([len(walk)], np.int64)}


def calibration_walks(
    subjects: range = WALKERS, size: tuple[int, int] = (64, 44)
) -> Iterator[NDArray[np.uint8]]:
    """Yield one walk per subject."""
    for subject in subjects:
        condition = CONDITIONS[5 * subject % len(CONDITIONS)]
        yield packed_walk(subject, condition, VIEWS[subject % len(VIEWS)], size=size)


def quantise(
    model: onnx.ModelProto, walks: Iterator[NDArray[np.uint8]], form: Form
) -> onnx.ModelProto:
    """Return the model with the convolutions of its blocks in int8, keeping its metadata.

    Raises:
        ExportError: the graph has no such convolutions, or no walk is given.

    """
    properties = {e.key: e.value for e in model.metadata_props if e.key != GRAPH_KEY}
    with tempfile.TemporaryDirectory() as folder:
        folded, made = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        written = rewrite(model, form)
        _fold(written, folded)
        large = large_convolutions(onnx.load(folded).graph, blocks_of(written))
        if not large:
            raise ExportError("expected a model of MetaGait's blocks, got one without any")
        quantize_static(
            folded,
            made,
            Walks(walks),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=large,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantised = onnx.load(made)
    move_early(quantised.graph)
    helper.set_model_props(quantised, properties)
    return quantised


def _fold(model: onnx.ModelProto, path: Path) -> None:
    """Let ONNX Runtime precompute what depends only on parameters, and write the result."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    folded = onnx.load(path)
    # Tells the quantiser that the model is already prepared, which silences its warning.
    prepared = dict.fromkeys(("onnx.infer", "onnx.quant.pre_process"), "onnxruntime.quant")
    helper.set_model_props(folded, prepared)
    onnx.save(folded, path)


def large_convolutions(graph: onnx.GraphProto, blocks: Sequence[str]) -> list[str]:
    """Return the names of the convolutions of these blocks, in whatever form `rewrite` wrote them.

    Size would not tell them from others: a wide stem and large attention kernels have many weights.
    """
    # A node that `rewrite` wrote is named after its block; in a plain graph only the weights are.
    ours = tuple(f"{block}." for block in blocks)
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and (node.name.startswith(ours) or node.input[1].startswith(ours))
    ]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait quantise`."""
    add_arguments(parser)
    parser.add_argument(
        "--form",
        choices=[form for form in FORMS if form != "winograd"],
        default="shifted",
        help="how the convolutions are computed; docs/performance.md explains them (default: "
        "%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Quantise, measure, and write the result if it is good enough."""
    source = opened_source(arguments)
    if source.facts.precision != "float32":
        raise ExportError(f"expected a float32 model, got one in {source.facts.precision}")
    terms = terms_of(arguments, source.facts.size)
    model = onnx.load_from_string(read_model(arguments.model))
    quantised = quantise(model, calibration_walks(size=source.facts.size), arguments.form)
    facts = replace(source.facts, name=f"{source.facts.name}-int8", precision="int8")
    written = write_variant(quantised, facts, arguments.output, source=source, terms=terms)
    print(f"{arguments.output}: {written.model_id}, {arguments.output.stat().st_size:,} bytes")
    return 0
