"""`metagait ablate`: trains every row of an ablation on the same budget, and fills its tables.

    metagait ablate model/configs/ablation.yaml --rows metagait,gaitgl --seeds 1,2,3

Each row and seed has its own folder, `<output>/<row>/seed-<n>`, and resumes where it stopped; one
that has been scored is not touched again. `<output>/ablation.md` is rewritten after each.
"""

import argparse
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.ablation import Ablation, load_ablation, seeded
from model.ablation_report import KINDS, Draws, Results, report
from model.bounds import above_zero, count, whole
from model.caches import BENCHMARK, training_dataset, walkers_dataset
from model.checkpoint import load_network
from model.config import TrainConfig, plain
from model.dataset import Dataset
from model.distances import flat_distances
from model.embed import embed, encode_with
from model.errors import ConfigError
from model.pieces import write_whole
from model.protocols import closed_set
from model.train import RUNS, Conduct, deadline_in, train

RESULT = "rank-one.npz"


def ablate(
    ablation: Ablation,
    rows: dict[str, TrainConfig],
    seeds: tuple[int, ...],
    output: Path,
    *,
    dataset: Dataset,
    benchmark: Dataset,
    deadline: float = math.inf,
    command: str = "metagait ablate",
) -> bool:
    """Train and score `rows` with each seed; return False if stopped before the end.

    `deadline` is the `time.monotonic()` value at which to stop, `command` the command line shown
    with the tables.

    Raises:
        ConfigError: `output` contains runs with another budget or network.

    """
    check_budget(ablation, output)
    for seed in seeds:
        for row, config in rows.items():
            folder = output / row / f"seed-{seed}"
            print(f"{row}, seed {seed}: {folder}", flush=True)
            if not run_one(seeded(config, seed), folder, dataset, benchmark, deadline):
                return False
            text = report(ablation, results_in(output, ablation), len(benchmark.subjects), command)
            write_whole(text.encode(), output / "ablation.md")
    return True


def run_one(
    config: TrainConfig,
    folder: Path,
    dataset: Dataset,
    benchmark: Dataset,
    deadline: float = math.inf,
) -> bool:
    """Train and score one row with one seed, as far as not yet done; return False if stopped.

    Raises:
        ConfigError: the folder contains a run of another network.

    """
    check_network(config, folder)
    if (folder / RESULT).exists():
        return True
    if not train(config, dataset, folder, Conduct(resume=True, deadline=deadline)):
        return False
    draws = score(folder / "checkpoint.pt", benchmark)
    unfinished = folder / f"unfinished-{RESULT}"
    np.savez(unfinished, rank_one=draws)
    unfinished.replace(folder / RESULT)
    return True


def score(checkpoint: Path, benchmark: Dataset) -> Draws:
    """Return a checkpoint's rank-1 by kind of probe, as measured and for every draw: `[B, 3]`."""
    embedded = embed(benchmark, encode_with(load_network(checkpoint)))
    found = closed_set(flat_distances, embedded.embeddings, embedded.labels)
    draws: Draws = np.stack([found[kind].draws("rank-1") for kind in KINDS], axis=1)
    return draws


def results_in(output: Path, ablation: Ablation) -> Results:
    """Read all scores under `output`, whichever call wrote them.

    Raises:
        ConfigError: one is damaged.

    """
    results: dict[str, dict[int, Draws]] = {}
    for row in ablation.rows:
        for path in sorted((output / row).glob(f"seed-*/{RESULT}")):
            seed = path.parent.name.removeprefix("seed-")
            if seed.isdecimal():  # a folder that somebody has set aside is not
                results.setdefault(row, {})[int(seed)] = _scored(path)
    return results


def _scored(path: Path) -> Draws:
    try:
        # From memory, as NumPy leaves a damaged file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as scored:
            draws: Draws = scored["rank_one"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"expected a score in {path}, got: {error}; without the file the row is scored again"
        ) from error
    return draws


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait ablate`."""
    parser.add_argument(
        "config", type=Path, help="YAML file of the rows: model/configs/ablation.yaml"
    )
    parser.add_argument(
        "--base", type=Path, help="training configuration, instead of the one that the file names"
    )
    parser.add_argument("--rows", help="names of rows, separated by commas (default: all)")
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default="1",
        help="seeds, separated by commas; a row is trained once with each (default: %(default)s)",
    )
    parser.add_argument(
        "--iterations",
        type=count,
        help="iterations of every row, instead of those in the training configuration",
    )
    parser.add_argument("--threads", type=count, help="CPU threads (default: one for each core)")
    parser.add_argument(
        "--minutes", type=above_zero, help="stop after this many minutes; run it again to continue"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=RUNS / "ablation",
        help="folder for the trainings and the table (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, score and tabulate; return 130 if a signal or `--minutes` stopped it early."""
    deadline = deadline_in(arguments.minutes)
    ablation = load_ablation(arguments.config, arguments.base)
    if arguments.iterations is not None:
        ablation = ablation.shortened(arguments.iterations)
    rows = ablation.of(tuple((arguments.rows or ",".join(ablation.rows)).split(",")))
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    config = next(iter(rows.values()))
    finished = ablate(
        ablation,
        rows,
        arguments.seeds,
        arguments.output,
        dataset=training_dataset(config.data, config.network.size, RUNS),
        benchmark=walkers_dataset(BENCHMARK, RUNS, "benchmark", config.network.size),
        deadline=deadline,
        command=_command(arguments),
    )
    print(f"tables: {arguments.output / 'ablation.md'}", flush=True)
    return 0 if finished else 130


def _seeds(asked: str) -> tuple[int, ...]:
    return tuple(whole(0)(seed.strip()) for seed in asked.split(","))


def check_budget(ablation: Ablation, output: Path) -> None:
    """Refuse to mix budgets in one folder: rows are comparable only if all were trained alike.

    Raises:
        ConfigError: the folder was started with other data, settings or iterations.

    """
    path, budget = output / "budget.json", ablation.budget()
    before = _recorded(path)
    if before is not None and before != budget:
        raise ConfigError(f"expected a new output folder, or the budget in {path}, got another one")
    if before is None:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(json.dumps(budget, indent=1).encode(), path)


def check_network(config: TrainConfig, folder: Path) -> None:
    """Refuse to continue a row whose network has changed.

    Raises:
        ConfigError: the folder contains a run of another network.

    """
    path = folder / "config.json"
    before = _recorded(path)
    if before is not None and before.get("network") != plain(config)["network"]:
        raise ConfigError(
            f"expected a new output folder, or the network in {path}, got another one"
        )


def _recorded(path: Path) -> dict[str, Any] | None:
    """Read what an earlier call wrote; None if there is nothing."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(f"expected what an earlier call wrote in {path}, got: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"expected what an earlier call wrote in {path}, got something else")
    return content


def _command(arguments: argparse.Namespace) -> str:
    options = {
        "base": arguments.base,
        "rows": arguments.rows,
        "seeds": ",".join(map(str, arguments.seeds)),
        "iterations": arguments.iterations,
    }
    given = [f"--{name} {value}" for name, value in options.items() if value is not None]
    return " ".join(["metagait ablate", str(arguments.config), *given])
