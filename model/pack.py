"""`metagait pack`: packs a raw dataset into a cache, and lists what is wrong with it.

metagait pack data/casia-b caches/casia-b --workers 8 --report casia-b.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from model.bars import progress_bar
from model.bounds import check_writable, count
from model.cpus import available_cpus
from model.dataset import LAYOUTS, Dataset, Layout, layout_of, open_packed, pack
from model.dataset.raw import Scan
from model.silhouettes import PREPROCESSING_ID, SIZES


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait pack`."""
    configure_packing(parser)
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="layout of the source, if it is not recognised"
    )


def configure_packing(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `metagait pack` and `metagait convert` share."""
    sizes = [f"{height}x{width}" for height, width in SIZES]
    parser.add_argument("source", type=Path, help="folder of the dataset")
    parser.add_argument("target", type=Path, help="new folder to write the packed dataset to")
    parser.add_argument(
        "--size",
        choices=sizes,
        default=sizes[0],
        help=f"height x width of the silhouettes (default: {sizes[0]})",
    )
    parser.add_argument(
        "--workers",
        type=count,
        default=available_cpus(),
        help="processes (default: one for each CPU that this process may use)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.json",
        help="write everything that is missing or wrong in the dataset to this file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Pack, and print what was wrong with the data."""
    layout = layout_of(arguments.source, arguments.layout)
    return pack_with(arguments, layout, layout.scan(arguments.source))


def pack_with(arguments: argparse.Namespace, layout: Layout, scan: Scan) -> int:
    """Pack the portions of a source, then print the report and write it if requested.

    Raises:
        DatasetError: the target exists, or nothing in the source can be used.
        ConfigError: the report cannot be written.

    """
    check_writable(arguments.report)
    size = SIZES[[f"{height}x{width}" for height, width in SIZES].index(arguments.size)]
    target, workers = arguments.target, arguments.workers
    with progress_bar(len(scan.portions), "portion") as advance:
        pack(scan, target, size, layout=layout, workers=workers, progress=advance)
    dataset = open_packed(target)
    facts = _facts(dataset, layout)
    print(
        f"{facts['samples']} samples of {facts['subjects']} subjects, {facts['frames']} frames "
        f"(layout {layout.name})"
    )
    for line in dataset.report.lines():
        print(f"  {line}")
    if arguments.report:
        content = {"source": str(arguments.source), **facts, **dataset.report.as_json()}
        arguments.report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def _facts(dataset: Dataset, layout: Layout) -> dict[str, Any]:
    return {
        "layout": layout.name,
        "size": list(dataset.size),
        "preprocessing_id": PREPROCESSING_ID,
        "subjects": len(dataset.subjects),
        "samples": len(dataset.samples),
        "frames": sum(sample.length for sample in dataset.samples),
    }
