"""`metagait compact`: writes a model whose embeddings are projected to fewer numbers.

    metagait compact base.onnx metagait-512.onnx --dimensions 512
    metagait compact base.onnx metagait.onnx --kind discriminant --dimensions 256

The projection is learned on walkers that no shipped training has seen, and becomes the last layer
of the file: one part of K numbers instead of P parts of D. With kind "pca" its rows are
orthonormal, so a Euclidean distance is that of the full embeddings within the kept subspace, never
larger. It is refused if that subspace keeps too little of what distinguishes other people. Kind
"discriminant" gives different distances, in which people differ more and one person less.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.bounds import count, share
from model.caches import walkers_dataset
from model.config import WalkersConfig
from model.dataset import Dataset, joined
from model.embed import embed
from model.errors import ExportError
from model.evaluate import RUNS
from model.manifest import read_model
from model.projection import Projection, discriminants, principal_components
from model.variants import add_arguments, opened_source, terms_of, write_variant
from model.walkers import WalkerSettings

_WALKS = WalkersConfig(
    subjects=300,
    conditions=("nm-01", "bg-01", "cl-01"),
    views=(0, 36, 54, 90, 126, 144, 180),
)
LEARNED_ON = (
    replace(
        _WALKS,
        first=1001,
        settings=WalkerSettings(
            frames=28,
            noise=1.2,
            camera_variety=0.6,
            noise_variety=0.8,
            pace_variety=0.6,
            view_jitter=9.0,
        ),
    ),
    replace(
        _WALKS,
        first=1401,
        settings=WalkerSettings(
            frames=28, camera_variety=0.2, noise_variety=0.4, pace_variety=0.4, view_jitter=5.0
        ),
    ),
)
"""The walkers that a projection is learned on: made like those of `walkers.yaml`, other people."""
KINDS = ("pca", "discriminant")
LEAST_ENERGY = 0.95


def learning_dataset(runs: Path, size: tuple[int, int]) -> Dataset:
    """Open the walkers that projections are learned on, generated under `runs` if missing."""
    return joined([walkers_dataset(g, runs / "cache", "projection", size) for g in LEARNED_ON])


def append(model: onnx.ModelProto, projection: Projection) -> onnx.ModelProto:
    """Return a copy of the model with `embedding` projected to float32 `[N, 1, K]`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, dimensions = copy.graph, len(projection.rows)
    # If the model already ends in a projection, that one keeps its name.
    names = {tensor.name.partition(".")[::2] for tensor in graph.initializer}
    earlier = sum(first.startswith("compact") and last == "rows" for first, last in names)
    layer = f"compact{earlier or ''}"
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == "embedding":
                node.output[place] = f"{layer}.full"
    bias = -projection.rows @ projection.offset
    arrays = {
        f"{layer}.rows": projection.rows,
        f"{layer}.bias": bias.astype(np.float32),
        f"{layer}.flat": np.array([0, projection.rows.shape[1]]),
        f"{layer}.shape": np.array([0, 1, dimensions]),
    }
    if projection.unit:
        arrays[f"{layer}.axis"] = np.array([1])
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    graph.node.extend(
        [
            helper.make_node("Reshape", [f"{layer}.full", f"{layer}.flat"], [f"{layer}.flattened"]),
            helper.make_node(
                "Gemm",
                [f"{layer}.flattened", f"{layer}.rows", f"{layer}.bias"],
                [f"{layer}.projected"],
                transB=1,
            ),
            *_scaled(layer, unit=projection.unit),
            helper.make_node("Reshape", [f"{layer}.scaled", f"{layer}.shape"], ["embedding"]),
        ]
    )
    walks = graph.output[0].type.tensor_type.shape.dim[0].dim_param
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [walks, 1, dimensions])
    )
    return copy


def _scaled(layer: str, *, unit: bool) -> list[onnx.NodeProto]:
    given, scaled, length = f"{layer}.projected", f"{layer}.scaled", f"{layer}.length"
    if not unit:
        return [helper.make_node("Identity", [given], [scaled])]
    return [
        helper.make_node("ReduceL2", [given, f"{layer}.axis"], [length]),
        helper.make_node("Div", [given, length], [scaled]),
    ]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait compact`."""
    add_arguments(parser)
    parser.add_argument(
        "--dimensions",
        type=count,
        default=512,
        help="numbers in the new embedding (default: %(default)s)",
    )
    parser.add_argument(
        "--kind", choices=KINDS, default="pca", help="kind of projection (default: %(default)s)"
    )
    parser.add_argument(
        "--name", help="name of the model (default: the name of the source, and the kind)"
    )
    parser.add_argument(
        "--energy",
        type=share,
        default=LEAST_ENERGY,
        help="with `pca`: least share of the energy that must be kept on the benchmark walkers "
        "(default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Learn a projection, measure it, and write the result if it is good enough."""
    source = opened_source(arguments)
    check_dimensions(arguments.kind, arguments.dimensions, source.facts.embedding_length)
    terms = terms_of(arguments, source.facts.size)
    batch = source.runtime.batch_frames
    learned = embed(learning_dataset(RUNS, source.facts.size), source.encode, batch_frames=batch)
    kind, dimensions = arguments.kind, arguments.dimensions
    energy = None
    if kind == "pca":
        projection = principal_components(learned.embeddings, dimensions)
        unseen = embed(terms.trial.dataset, source.encode, batch_frames=batch)
        energy = projection.kept_energy(unseen.embeddings)
        check_energy(energy, projection.kept_energy(learned.embeddings), arguments.energy)
    else:
        projection = discriminants(learned.embeddings, learned.labels.subjects, dimensions)
    model = append(onnx.load_from_string(read_model(arguments.model)), projection)
    facts = replace(
        source.facts,
        name=arguments.name or f"{source.facts.name}-{kind}{dimensions}",
        parts=1,
        dimensions=dimensions,
    )
    written = write_variant(
        model, facts, arguments.output, source=source, terms=terms, kept_energy=energy
    )
    print(f"{arguments.output}: {written.model_id}, {arguments.output.stat().st_size:,} bytes")
    return 0


def check_dimensions(kind: str, dimensions: int, length: int) -> None:
    """Raise ExportError if embeddings of `length` numbers cannot be projected to `dimensions`."""
    people = sum(group.subjects for group in LEARNED_ON)
    # The means of n people span only n - 1 directions.
    most = length if kind == "pca" else min(length, people - 1)
    if not 1 <= dimensions <= most:
        raise ExportError(
            f"expected 1 to {most} dimensions from embeddings of {length} numbers, got {dimensions}"
        )


def check_energy(energy: float, learned: float, least: float) -> None:
    """Print how much of the energy is kept; raise ExportError if it is too little."""
    print(f"{learned:.1%} of the energy kept where it was learned, {energy:.1%} on other walkers")
    if energy < least:
        raise ExportError(
            f"expected to keep at least {least:.1%} of the energy, kept {energy:.1%}; "
            "more dimensions keep more"
        )
