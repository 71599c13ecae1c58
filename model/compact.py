"""`metagait compact`: an exported model whose embeddings are projected to fewer numbers.

    metagait compact model/weights/metagait.onnx metagait-512.onnx --dimensions 512

The projection is learned on training walkers and becomes the last layer of the file: one part of K
numbers instead of P parts of D. Its rows are orthonormal, so a Euclidean distance is that of the
full embeddings within the kept subspace, never larger. It is refused when that subspace keeps too
little of what distinguishes people whom the projection was not learned on.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.caches import walkers_dataset
from model.config import WalkersConfig
from model.embed import embed
from model.encoder import OnnxEncoder
from model.errors import ExportError
from model.evaluate import RUNS
from model.manifest import read_model
from model.variants import add_arguments, terms_of, write_variant

Embeddings = NDArray[np.float32]

LEARNED_ON = WalkersConfig(
    first=1,
    subjects=200,
    conditions=("nm-01", "nm-03", "bg-01", "cl-01"),
    views=(0, 54, 90, 144),
)
"""The walkers that a projection is learned on; trainings use them too, benchmarks never."""
LEAST_ENERGY = 0.95


@dataclass(frozen=True)
class Projection:
    """``rows @ (embedding - offset)``: float32 `[K, P*D]` and `[P*D]`."""

    rows: Embeddings
    offset: Embeddings

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """`[N, P*D]` to `[N, K]`."""
        return ((embeddings - self.offset) @ self.rows.T).astype(np.float32)

    def kept_energy(self, embeddings: Embeddings) -> float:
        """Share of the squared distances from the mean that the projection keeps."""
        centred = (embeddings - embeddings.mean(axis=0)).astype(np.float64)
        return float(((centred @ self.rows.T) ** 2).sum() / (centred**2).sum())


def principal_components(embeddings: Embeddings, dimensions: int) -> Projection:
    """Learn the subspace in which the embeddings `[N, P*D]` vary most.

    Raises:
        ExportError: fewer embeddings, or numbers in each, than dimensions.

    """
    count, length = embeddings.shape
    if not 1 <= dimensions < min(count, length + 1):
        raise ExportError(
            f"expected 1 to {min(count - 1, length)} dimensions from {count} embeddings of "
            f"{length}, got {dimensions}"
        )
    offset = embeddings.mean(axis=0).astype(np.float32)
    centred = (embeddings - offset).astype(np.float64)
    # The smaller of the two products has the same values, and gives the vectors of the other.
    wide = count < length
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    if values[-dimensions] <= 1e-9 * values[-1]:
        raise ExportError(f"expected embeddings that span {dimensions} dimensions, got fewer")
    largest = vectors[:, ::-1][:, :dimensions]
    rows = ((centred.T @ largest) / np.sqrt(values[::-1][:dimensions]) if wide else largest).T
    return Projection(rows.astype(np.float32), offset)


KINDS: dict[str, Callable[[Embeddings, int], Projection]] = {"pca": principal_components}
"""Ways to learn a projection from embeddings."""


def append(model: onnx.ModelProto, projection: Projection) -> onnx.ModelProto:
    """Return a copy whose `embedding` is projected: float32 `[N, 1, K]`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, dimensions = copy.graph, len(projection.rows)
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == "embedding":
                node.output[place] = "compact.full"
    bias = -projection.rows @ projection.offset
    arrays = {
        "compact.rows": projection.rows,
        "compact.bias": bias.astype(np.float32),
        "compact.flat": np.array([0, projection.rows.shape[1]]),
        "compact.shape": np.array([0, 1, dimensions]),
    }
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    graph.node.extend(
        [
            helper.make_node("Reshape", ["compact.full", "compact.flat"], ["compact.flattened"]),
            helper.make_node(
                "Gemm",
                ["compact.flattened", "compact.rows", "compact.bias"],
                ["compact.projected"],
                transB=1,
            ),
            helper.make_node("Reshape", ["compact.projected", "compact.shape"], ["embedding"]),
        ]
    )
    walks = graph.output[0].type.tensor_type.shape.dim[0].dim_param
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [walks, 1, dimensions])
    )
    return copy


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait compact`."""
    add_arguments(parser)
    parser.add_argument("--dimensions", type=int, default=512, help="numbers (default %(default)s)")
    parser.add_argument(
        "--kind", choices=KINDS, default="pca", help="of the projection (default %(default)s)"
    )
    parser.add_argument(
        "--energy",
        type=float,
        default=LEAST_ENERGY,
        help="least share of the energy to keep on benchmark walkers (default %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Learn, measure, and write what is good enough."""
    source = OnnxEncoder.open(arguments.model)
    terms = terms_of(arguments)
    learned = embed(walkers_dataset(LEARNED_ON, RUNS / "cache", "projection"), source.encode)
    projection = KINDS[arguments.kind](learned.embeddings, arguments.dimensions)
    unseen = embed(terms.trial.dataset, source.encode)
    energy = projection.kept_energy(unseen.embeddings)
    print(
        f"{arguments.kind}, {source.facts.embedding_length} to {arguments.dimensions} numbers: "
        f"{projection.kept_energy(learned.embeddings):.1%} of the energy kept where it was "
        f"learned, {energy:.1%} on benchmark walkers"
    )
    if energy < arguments.energy:
        raise ExportError(
            f"expected to keep at least {arguments.energy:.1%} of the energy, kept {energy:.1%}; "
            "more dimensions keep more"
        )
    model = append(onnx.load_from_string(read_model(arguments.model)), projection)
    facts = replace(
        source.facts,
        name=f"{source.facts.name}-{arguments.kind}{arguments.dimensions}",
        parts=1,
        dimensions=arguments.dimensions,
    )
    written = write_variant(
        model, facts, arguments.output, source=source, terms=terms, kept_energy=energy
    )
    print(f"{arguments.output}: {written.model_id}, {arguments.output.stat().st_size:,} bytes")
    return 0
