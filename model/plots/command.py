"""`metagait plot`: draws pictures of models and trainings.

    metagait plot cmc det tsne --model model/weights/metagait.onnx --output pictures
    metagait plot attention curves --model runs/walkers/checkpoint.pt --output pictures

Every picture is named after what it shows. The samples for cmc, det and tsne are embedded once per
call; they are those of `metagait evaluate`, so without `--data` the benchmark walkers.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.bounds import check_writable
from model.caches import BENCHMARK
from model.checkpoint import load_network
from model.distances import flat_distances
from model.embed import Embedded, Embedder, embed, gei_embedder, open_embedders
from model.encoder import SHIPPED_MODEL
from model.errors import ConfigError
from model.evaluate import add_data_arguments, chosen_dataset
from model.evaluation import check_size
from model.open_set import search, splits
from model.plots.attention import draw_attention
from model.plots.embeddings import SUBJECTS, Cloud, draw_tsne
from model.plots.identification import Identified, draw_cmc, draw_det
from model.plots.style import save
from model.plots.training import draw_curves, read_log
from model.protocols import PROTOCOLS, Protocol, closed_set
from model.silhouettes import align
from model.walkers import render_walk

KINDS = ("cmc", "det", "tsne", "attention", "curves")
_OF_EMBEDDINGS = ("cmc", "det", "tsne")
# One person in three conditions, seen from the side.
_SHOWN = {"normal": "nm-01", "with a bag": "bg-01", "in a coat": "cl-01"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait plot`."""
    parser.add_argument(
        "what", nargs="+", choices=KINDS, metavar="WHAT", help=f"one or more of: {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        type=Path,
        default=[SHIPPED_MODEL],
        metavar="FILE",
        help="ONNX files or checkpoints (default: the shipped weights); `attention` draws the "
        "first, which must be a checkpoint",
    )
    parser.add_argument(
        "--log",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="files log.jsonl of trainings, for `curves` (default: those beside the checkpoints)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("pictures"),
        metavar="DIR",
        help="folder for the pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--stage", default="a1", help="for `attention`: stage of the network (default: %(default)s)"
    )
    add_data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw the requested pictures, and print where they are."""
    wanted = tuple(dict.fromkeys(arguments.what))
    logs = arguments.log or _logs_beside(arguments.model) if "curves" in wanted else []
    if "attention" in wanted and arguments.model[0].suffix == ".onnx":
        raise ConfigError(
            f"expected a checkpoint as the first --model for attention, got {arguments.model[0]}; "
            f"an ONNX file does not show its maps"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    check_writable(*(arguments.output / f"{what}.png" for what in wanted))
    figures = _of_embeddings(arguments, [what for what in wanted if what in _OF_EMBEDDINGS])
    if "attention" in wanted:
        network = load_network(arguments.model[0])
        walks = shown_walks(network.config.size)
        figures["attention"] = draw_attention(walks, network, arguments.stage)
    if "curves" in wanted:
        named = run_names(logs).items()
        figures["curves"] = draw_curves({name: read_log(path) for name, path in named})
    for what in wanted:
        path = arguments.output / f"{what}.png"
        save(figures[what], path)
        print(path)
    return 0


def _logs_beside(models: Sequence[Path]) -> list[Path]:
    logs = [path.with_name("log.jsonl") for path in models]
    if found := [log for log in logs if log.is_file()]:
        return found
    raise ConfigError(
        "expected --log with the log.jsonl of a training for curves, or a checkpoint that has one "
        "beside it, got none"
    )


def shown_walks(size: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
    """Return aligned walks of one benchmark walker, keyed by their captions."""
    return {
        name: align(render_walk(BENCHMARK.first, condition, 90), size).silhouettes
        for name, condition in _SHOWN.items()
    }


def _of_embeddings(arguments: argparse.Namespace, wanted: Sequence[str]) -> dict[str, Figure]:
    """Draw the pictures that need embeddings; embed nothing if none is wanted."""
    if not wanted:
        return {}
    embedders = open_embedders(arguments.model)
    dataset, _ = chosen_dataset(arguments, embedders)
    people = dataset.subjects[:SUBJECTS]
    if wanted == ["tsne"]:
        dataset = dataset.of(people)
    identified, clouds = [], []
    for embedder in (gei_embedder(dataset.size), *embedders):
        check_size(dataset, embedder)
        batch = embedder.batch_frames
        embedded = embed(dataset, embedder.encode, batch_frames=batch, progress=True)
        if {"cmc", "det"} & {*wanted}:
            identified.append(_identified(embedder, embedded, PROTOCOLS[arguments.protocol]))
        if "tsne" in wanted:
            clouds.append(_cloud(embedder, embedded, people))
    figures = {}
    if "cmc" in wanted:
        figures["cmc"] = draw_cmc(identified)
    if "det" in wanted:
        figures["det"] = draw_det(identified)
    if "tsne" in wanted:
        figures["tsne"] = draw_tsne(clouds)
    return figures


def _identified(embedder: Embedder, embedded: Embedded, protocol: Protocol) -> Identified:
    """Search the closed and the open set by flattened distance, as the gallery does."""
    embeddings, labels = embedded.embeddings, embedded.labels
    first, second = (search(flat_distances, half) for half in splits(embeddings, labels, protocol))
    closed = closed_set(flat_distances, embeddings, labels, protocol)
    return Identified(embedder.name, closed, first.joined(second))


def _cloud(embedder: Embedder, embedded: Embedded, people: Sequence[str]) -> Cloud:
    labels = embedded.labels
    shown = np.isin(labels.subjects, np.array(people, np.str_))
    return Cloud(embedder.name, embedded.embeddings[shown], labels.where(shown))


def run_names(logs: Sequence[Path]) -> dict[str, Path]:
    """Name each training after its folder; several of one name after the folders above it too."""
    whole = list(dict.fromkeys(log.resolve() for log in logs))
    named = {log.parent.name: log for log in whole}
    if len(named) == len(whole):
        return named
    above = os.path.commonpath([log.parent for log in whole])
    return {os.path.relpath(log, above).removesuffix("/log.jsonl"): log for log in whole}
