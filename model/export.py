"""`metagait export`: writes a checkpoint as one self-describing ONNX file.

    metagait export runs/demo/checkpoint.pt metagait.onnx --calibrate
    metagait export model/weights/metagait.onnx plain.onnx --form plain
    metagait export model/weights/metagait.onnx again.onnx --calibrate

Inputs: `silhouettes` uint8 `[N, T, H, W]` and `lengths` int64 `[N]`; output: `embedding` float32
`[N, P, D]`; N and T are free. A file whose embeddings differ from the network's is never written.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from model.bounds import share
from model.checkpoint import load_checkpoint, load_network
from model.embed import Encode
from model.encoder import METADATA_KEY, ModelFacts, OnnxEncoder, Threshold
from model.errors import ExportError
from model.facts import TrainedOn
from model.graph import FORMS, Form, rewrite
from model.manifest import check_place, read_model, write_checked
from model.networks import Network
from model.provenance import trained_on
from model.silhouettes import PREPROCESSING_ID
from model.threshold import calibrate_on_walkers
from model.train import RUNS

OPSET = 18
MAX_FRAMES = 2000
"""Longest walk an exported model takes; over a minute at 25 frames per second."""
TOLERANCE = 1e-4
"""Largest absolute difference between ONNX and torch, and between batches and single walks."""

_FPIR = 0.01
_PARITY_LENGTHS = ((1,), (2, 3), (30,), (60, 7, 31, 1), (5, 100))


def export_onnx(
    network: Network,
    path: Path,
    *,
    name: str,
    threshold: Threshold | None = None,
    training: TrainedOn | None = None,
    form: Form = "winograd",
) -> ModelFacts:
    """Write `network` to `path` and return its facts; `form` is one of `model.graph`'s.

    The file is written whole or not at all. Threshold and training become part of its facts.

    Raises:
        ExportError: the file's embeddings differ from the network's by more than `TOLERANCE`.

    """
    network = network.eval().cpu()
    facts = ModelFacts(
        model_id="",
        name=name,
        size=network.config.size,
        parts=network.config.parts,
        dimensions=network.config.dimensions,
        preprocessing_id=PREPROCESSING_ID,
        max_frames=MAX_FRAMES,
        threshold=threshold,
        training=training,
    )
    model = rewrite(_graph(network), form)
    return write_model(model, facts, path, lambda written: check_parity(network, written))


def rewrite_onnx(source: Path, path: Path, form: Form) -> ModelFacts:
    """Write an exported file in another form, keeping its facts.

    Raises:
        ExportError: the embeddings of the two differ by more than `TOLERANCE`.
        ModelFileError: `source` is not a model that `metagait export` wrote.

    """
    before = OnnxEncoder.open(source, provider="cpu")

    def check(written: Path) -> None:
        after = OnnxEncoder.open(written, provider="cpu")
        _compare(after, before.encode, before.facts.size)

    model = rewrite(onnx.load_from_string(read_model(source)), form)
    return write_model(model, before.facts, path, check)


def write_model(
    model: onnx.ModelProto, facts: ModelFacts, path: Path, check: Callable[[Path], object]
) -> ModelFacts:
    """Write a model with its facts to `path`, with its manifest, or nothing if `check` raises.

    Raises:
        ExportError: it cannot be written there.

    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, properties | {METADATA_KEY: facts.to_json()})
    digest = write_checked(path, model.SerializeToString(), check)
    return ModelFacts.from_json(facts.to_json(), digest)


def check_parity(network: Network, path: Path) -> float:
    """Compare an ONNX file with its network on ragged batches and single walks.

    Returns:
        The largest absolute difference found.

    Raises:
        ExportError: it is above `TOLERANCE`.

    """
    encoder = OnnxEncoder.open(path, provider="cpu")
    return _compare(
        encoder,
        lambda walks: np.stack([embed_one(network, walk) for walk in walks]),
        network.config.size,
    )


def _compare(encoder: OnnxEncoder, expected: Encode, size: tuple[int, int]) -> float:
    generator = np.random.default_rng(0)
    seen = []
    for lengths in _PARITY_LENGTHS:
        walks = [generator.integers(0, 256, (length, *size), np.uint8) for length in lengths]
        seen.append(np.abs(encoder.encode(walks) - expected(walks)).max())
    worst = float(np.max(seen))  # NaN if any is, which Python's max might skip
    if not worst <= TOLERANCE:
        raise ExportError(
            f"expected embeddings within {TOLERANCE} of the network's, got a difference of {worst}"
        )
    return worst


def embed_one(network: Network, walk: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed one walk uint8 `[T, H, W]` with torch: float32 `[P*D]`."""
    with torch.no_grad():
        embedding = network(torch.from_numpy(walk)[None], torch.tensor([len(walk)]))
    flat: NDArray[np.float32] = embedding.flatten().numpy()
    return flat


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait export`."""
    parser.add_argument(
        "model",
        type=Path,
        help="checkpoint that `metagait train` wrote, or an ONNX file that was exported",
    )
    parser.add_argument("output", type=Path, help="the ONNX file to write")
    parser.add_argument(
        "--name", help="name of the model (default: metagait-<name of the training>)"
    )
    parser.add_argument(
        "--form",
        choices=FORMS,
        default="winograd",
        help="how the convolutions are computed; docs/performance.md explains them (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="measure a default threshold on synthetic walkers; a model without one answers "
        "`inconclusive` until its gallery is calibrated",
    )
    parser.add_argument(
        "--fpir",
        type=share,
        help="with --calibrate: largest share of searches by strangers that may name somebody "
        "(default: 0.01)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and if requested measure a threshold of the exported file."""
    if arguments.fpir is not None and not arguments.calibrate:
        raise ExportError("expected --fpir only together with --calibrate")
    output = arguments.output
    check_place(output)
    facts = _calibrated(arguments) if arguments.calibrate else _written(arguments, output)
    print(f"{output}: {facts.model_id}, {output.stat().st_size:,} bytes")
    return 0


def _written(arguments: argparse.Namespace, path: Path) -> ModelFacts:
    is_onnx = arguments.model.suffix == ".onnx"
    return _rewritten(arguments, path) if is_onnx else _exported(arguments, path)


def _rewritten(arguments: argparse.Namespace, path: Path) -> ModelFacts:
    if arguments.name:
        raise ExportError(
            f"expected a checkpoint for --name, got {arguments.model}, whose name is kept"
        )
    return rewrite_onnx(arguments.model, path, arguments.form)


def _exported(arguments: argparse.Namespace, path: Path) -> ModelFacts:
    checkpoint = load_checkpoint(arguments.model)
    return export_onnx(
        load_network(arguments.model),
        path,
        name=arguments.name or f"metagait-{checkpoint.config.name}",
        training=trained_on(checkpoint),
        form=arguments.form,
    )


def _calibrated(arguments: argparse.Namespace) -> ModelFacts:
    """Measure a temporary file, so that the output either has a threshold or does not exist."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unmeasured.onnx"
        facts = _written(arguments, path)
        model, encoder = onnx.load(path), OnnxEncoder.open(path)
        threshold = calibrate_on_walkers(encoder, RUNS, arguments.fpir or _FPIR)
    print(
        f"threshold {threshold.distance:.3f}, inconclusive up to {threshold.inconclusive_to:.3f}: "
        f"FPIR {threshold.target_fpir:.3%}, FNIR {threshold.fnir:.3%} over {threshold.searches} "
        "non-mated searches"
    )
    measured = replace(facts, threshold=threshold)
    return write_model(model, measured, arguments.output, lambda _: None)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide torch's warnings about itself: deprecations, and torchvision, which is not needed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _graph(network: Network) -> onnx.ModelProto:
    # Lengths differ and none is a special number, so that the exporter takes nothing as constant.
    frames = 31
    silhouettes = torch.zeros(2, frames, *network.config.size, dtype=torch.uint8)
    lengths = torch.tensor([frames, 20])
    walks, steps = torch.export.Dim("N"), torch.export.Dim("T")
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            (silhouettes, lengths),
            input_names=["silhouettes", "lengths"],
            output_names=["embedding"],
            dynamic_shapes={"silhouettes": {0: walks, 1: steps}, "lengths": {0: walks}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("expected a program from the exporter, got none")
    return program.model_proto
