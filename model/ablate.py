"""`metagait ablate`: trains every row of an ablation on the same budget, and fills its tables.

    metagait ablate model/configs/ablation.yaml --rows metagait,gaitgl --seeds 1,2,3

Each row and seed has its own folder, `<output>/<row>/seed-<n>`, and resumes where it stopped; one
that has been scored is not touched again. `<output>/ablation.md` is rewritten after each.
"""

import argparse
import json
import math
from pathlib import Path

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
            (output / "ablation.md").write_text(text)
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
    """Read all scores under `output`, whichever call wrote them."""
    results: dict[str, dict[int, Draws]] = {}
    for row in ablation.rows:
        for path in sorted((output / row).glob(f"seed-*/{RESULT}")):
            with np.load(path, allow_pickle=False) as scored:
                results.setdefault(row, {})[int(path.parent.name[5:])] = scored["rank_one"]
    return results


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
    path = output / "budget.json"
    budget = ablation.budget()
    if path.exists() and json.loads(path.read_text()) != budget:
        raise ConfigError(f"expected a new output folder, or the budget in {path}, got another one")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(budget, indent=1))


def check_network(config: TrainConfig, folder: Path) -> None:
    """Refuse to continue a row whose network has changed.

    Raises:
        ConfigError: the folder contains a run of another network.

    """
    path = folder / "config.json"
    if path.exists() and json.loads(path.read_text())["network"] != plain(config)["network"]:
        raise ConfigError(
            f"expected a new output folder, or the network in {path}, got another one"
        )


def _command(arguments: argparse.Namespace) -> str:
    options = {
        "base": arguments.base,
        "rows": arguments.rows,
        "seeds": ",".join(map(str, arguments.seeds)),
        "iterations": arguments.iterations,
    }
    given = [f"--{name} {value}" for name, value in options.items() if value is not None]
    return " ".join(["metagait ablate", str(arguments.config), *given])
