"""`metagait evaluate`: prints tables for one or more models, and for gait energy images.

    metagait evaluate runs/demo/checkpoint.pt --markdown table.md --json table.json
    metagait evaluate A.onnx B.onnx --data data/casia-b --partition lt --open-set

Without `--data` the samples are the benchmark walkers: 50 synthetic subjects that no training of
this project uses (see `model.caches.BENCHMARK`). docs/evaluation.md describes the protocols.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from model.bounds import check_writable, count
from model.caches import BENCHMARK, packed, walkers_dataset
from model.dataset import LAYOUTS, PARTITIONS, Dataset, named_partition
from model.dataset.raw import in_order
from model.embed import Embedder, gei_embedder, open_embedders
from model.errors import ConfigError, DatasetError
from model.evaluation import Evaluation, evaluate
from model.protocols import CASIA_B, PROTOCOLS
from model.provenance import check_benchmark, doubts
from model.summary import summary_cells
from model.tables import markdown, markdown_table, text, text_table

RUNS = Path("runs")
_SAMPLES_EACH = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait evaluate`."""
    parser.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="ONNX file, or checkpoint of a training; with several, they share a table, and the "
        "first is compared with each of the others",
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--open-set",
        action="store_true",
        help="also measure decisions about strangers: FNIR at an FPIR of 1 %% and 0.1 %%, "
        "threshold, DET",
    )
    parser.add_argument(
        "--samples-each",
        type=count,
        metavar="N",
        help="with --open-set: samples to enrol of each subject (default: 4)",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables to this file"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that select the evaluation data, shared with `metagait plot`."""
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of the dataset (default: the synthetic walkers of the benchmark)",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=CASIA_B.name,
        help="who is searched for among whom (default: %(default)s)",
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="layout of --data, if it is not recognised"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--subjects", metavar="A:B", help="only the subjects with ids from A to B, both included"
    )
    chosen.add_argument(
        "--partition",
        choices=PARTITIONS,
        help="only the subjects that this published partition tests on",
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the tables, and write the requested files."""
    if arguments.samples_each is not None and not arguments.open_set:
        raise ConfigError("expected --samples-each only together with --open-set")
    check_writable(arguments.markdown, arguments.json)
    embedders = open_embedders(arguments.models)
    dataset, told = chosen_dataset(arguments, embedders)
    evaluations = [
        evaluate(
            dataset,
            embedder,
            PROTOCOLS[arguments.protocol],
            open_set=arguments.open_set,
            samples_each=arguments.samples_each or _SAMPLES_EACH,
            progress=True,
        )
        for embedder in (*embedders, gei_embedder(dataset.size))
    ]
    first, *others, energy = evaluations
    for other in others:
        first = first.minus(other)
    for other in (*others, energy):
        first = first.joined(other)
    notes = [*first.notes, *told, *(str(difference) for difference in first.differences)]
    together = summary_cells(first.rows)
    print(_document(first, [text_table(first.rows), text(together) if together else ""], notes))
    if arguments.markdown:
        tables = [markdown_table(first.rows), markdown(together) if together else ""]
        arguments.markdown.write_text(_document(first, tables, notes) + "\n", encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(json.dumps(first.values(), indent=1))
    return 0


def chosen_dataset(
    arguments: argparse.Namespace, embedders: list[Embedder]
) -> tuple[Dataset, list[str]]:
    """Open the requested data, and return notes on what was left out of it or is in doubt.

    If the arguments select no subjects, those that a checkpoint was trained on are left out.

    Raises:
        DatasetError: the data cannot be opened or selected, or a model was trained on them.

    """
    dataset, told = _asked_for(arguments, embedders)
    dataset, too_long = _short_enough(dataset, embedders)
    told += too_long
    if arguments.data:
        told += [
            doubt
            for embedder in embedders
            for doubt in doubts(embedder, dataset.subjects, arguments.partition)
        ]
    return dataset, told


def _short_enough(dataset: Dataset, embedders: list[Embedder]) -> tuple[Dataset, list[str]]:
    """Leave out samples that are too long for one of the models, and return a note on them.

    All models are then measured on the same samples.
    """
    limits = [embedder.max_frames for embedder in embedders if embedder.max_frames is not None]
    kept = tuple(s for s in dataset.samples if all(s.length <= most for most in limits))
    left_out = len(dataset.samples) - len(kept)
    if not left_out:
        return dataset, []
    what = f"{left_out} samples of more than {min(limits)} frames, the most that the model takes"
    if not kept:
        raise DatasetError(f"expected shorter samples, got {what}")
    return replace(dataset, samples=kept), [f"{what}, left out."]


def _asked_for(
    arguments: argparse.Namespace, embedders: list[Embedder]
) -> tuple[Dataset, list[str]]:
    size = embedders[0].size
    if not arguments.data:
        if arguments.layout:
            raise DatasetError("expected --layout only together with --data")
        for embedder in embedders:
            check_benchmark(embedder)
        dataset = walkers_dataset(BENCHMARK, RUNS, "benchmark", size)
    else:
        dataset = packed(arguments.data, size, RUNS, arguments.layout)
    if arguments.partition:
        return named_partition(arguments.partition).test(dataset), []
    if arguments.subjects:
        return dataset.of(subject_range(dataset, arguments.subjects)), []
    trained = {subject for embedder in embedders for subject in embedder.trained_on}
    left = [subject for subject in dataset.subjects if subject not in trained]
    if arguments.data is None or len(left) == len(dataset.subjects):
        return dataset, []
    return dataset.of(left), [
        f"{len(dataset.subjects) - len(left)} subjects that a checkpoint was trained on left out."
    ]


def subject_range(dataset: Dataset, asked: str) -> tuple[str, ...]:
    """Parse `A:B` as the subjects from A to B inclusive; either end may be omitted.

    Numbers in ids count as numbers: 9 lies before 10.

    Raises:
        DatasetError: it is not of that form, or selects none of the dataset's subjects.

    """
    first, colon, last = asked.partition(":")
    chosen = tuple(
        subject
        for subject in dataset.subjects
        if (not first or in_order(subject) >= in_order(first))
        and (not last or in_order(subject) <= in_order(last))
    )
    if not colon or not chosen:
        raise DatasetError(
            f"expected subjects as A:B between {dataset.subjects[0]} and {dataset.subjects[-1]}, "
            f"got {asked!r}"
        )
    return chosen


def _document(evaluation: Evaluation, tables: list[str], notes: list[str]) -> str:
    shown = [table for table in tables if table]
    parts = [*shown, "\n".join(notes), *(report.markdown() for report in evaluation.open_set)]
    return "\n\n".join(parts)
