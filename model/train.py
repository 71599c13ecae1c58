"""`metagait train`: the training loop, from a configuration to a checkpoint.

    metagait train model/configs/demo.yaml --resume
    torchrun --nproc-per-node 2 -m metagait train model/configs/walkers-gpu.yaml

Training runs on a CUDA device if there is one. The state is saved every `checkpoint_every`
iterations, and on SIGTERM, on Ctrl-C and when `--minutes` is up. `--resume` continues from there,
and gives the same bits that an uninterrupted training on the same machine with the same number of
threads would have given.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from model.bounds import above_zero, count
from model.caches import training_dataset
from model.checkpoint import has_checkpoint, load_checkpoint
from model.config import TrainConfig, load_config, plain
from model.dataset import Dataset
from model.distributed import Group, joined
from model.errors import ConfigError
from model.pieces import write_whole
from model.progress import Progress
from model.sampler import Sampler, prefetched
from model.stopping import stop_signals
from model.training import Training

RUNS = Path("runs")


@dataclass(frozen=True)
class Conduct:
    """How a training is run on this machine; none of it changes what is learned."""

    resume: bool = False
    pieces: bool = False
    """Write the checkpoint in files of at most 16 MiB."""
    scalars: bool = False
    """Write TensorBoard's event files beside the log."""
    deadline: float = math.inf
    """`time.monotonic()` value at which to stop as on a signal."""
    group: Group = field(default_factory=Group)


def train(
    config: TrainConfig, dataset: Dataset, output: Path, conduct: Conduct | None = None
) -> bool:
    """Train up to the configuration's last iteration; return False if stopped before it.

    Raises:
        ConfigError: `output` already contains a training and `conduct` does not resume it, or it
            belongs to another configuration.
        DatasetError: the dataset has too few subjects for a batch.
        TrainingError: the loss is no longer finite; the last checkpoint is kept.

    """
    conduct = conduct or Conduct()
    path, group = output / "checkpoint.pt", conduct.group
    training = _begun(config, dataset, path, conduct)
    if not group.rank:
        output.mkdir(parents=True, exist_ok=True)
        write_whole(json.dumps(plain(training.config), indent=1).encode(), output / "config.json")
    sampler = Sampler(dataset, config.sampler, config.seed, group)
    progress = Progress(
        config.iterations,
        output / "log.jsonl",
        training.iteration,
        quiet=group.rank > 0,
        scalars=output / "scalars" if conduct.scalars else None,
    )
    ahead = range(training.iteration, config.iterations)
    with stop_signals() as stopped:
        for batch in prefetched(sampler.batch, ahead):
            progress.add(training.step(batch), training.iteration)
            over = stopped.is_set() or time.monotonic() >= conduct.deadline
            over = group.any(over, training.device)
            last = training.iteration == config.iterations or over
            if last or training.iteration % config.checkpoint_every == 0:
                training.save(path, progress.latest, pieces=conduct.pieces)
            if over:
                break
    progress.close()
    if training.iteration < config.iterations and not group.rank:
        print(f"stopped at iteration {training.iteration}; --resume continues", flush=True)
    return training.iteration >= config.iterations


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait train`."""
    parser.add_argument("config", type=Path, help="YAML configuration; model/configs has some")
    parser.add_argument(
        "--resume", action="store_true", help="continue the training in the output folder"
    )
    parser.add_argument("--start", help="checkpoint or ONNX file whose weights to begin with")
    parser.add_argument(
        "--output", type=Path, help="folder for the checkpoint and the log (default: runs/<name>)"
    )
    parser.add_argument(
        "--iterations", type=count, help="iterations, instead of those in the configuration"
    )
    parser.add_argument("--threads", type=count, help="CPU threads (default: one for each core)")
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of the dataset, instead of the one in the configuration, which still says who "
        "trains and who tests",
    )
    parser.add_argument(
        "--minutes",
        type=above_zero,
        help="stop after this many minutes, with a checkpoint to continue from",
    )
    parser.add_argument(
        "--pieces", action="store_true", help="write the checkpoint in files of at most 16 MiB"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write event files for TensorBoard"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; return 130 if a signal or `--minutes` stopped it before its last iteration."""
    deadline = deadline_in(arguments.minutes)
    config = load_config(arguments.config)
    if arguments.iterations is not None:
        config = replace(config, iterations=arguments.iterations)
    if arguments.start is not None:
        config = replace(config, start=arguments.start)
    if arguments.data is not None:
        config = replace(config, data=config.data.elsewhere(arguments.data))
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    with joined() as group:
        with group.first_alone():
            dataset = _dataset(config)
        conduct = Conduct(
            resume=arguments.resume,
            pieces=arguments.pieces,
            scalars=arguments.tensorboard,
            deadline=deadline,
            group=group,
        )
        output = arguments.output or RUNS / config.name
        return 0 if train(config, dataset, output, conduct) else 130


def deadline_in(minutes: float | None) -> float:
    """Return the `time.monotonic()` value that many minutes ahead; infinity for None."""
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


def _begun(config: TrainConfig, dataset: Dataset, path: Path, conduct: Conduct) -> Training:
    """Create the training from its checkpoint, from other weights, or from scratch."""
    found = has_checkpoint(path)
    if found and not conduct.resume:
        raise ConfigError(f"expected a new output folder or --resume, got {path}, which exists")
    training = Training(config, dataset.subjects, conduct.group)
    if found:
        training.resume(load_checkpoint(path))
    elif config.start:
        training.begin_from(Path(config.start))
    return training


def _dataset(config: TrainConfig) -> Dataset:
    dataset = training_dataset(config.data, config.network.size, RUNS)
    print(f"{len(dataset.samples)} samples of {len(dataset.subjects)} subjects", flush=True)
    for line in dataset.report.lines():
        print(f"  {line}", flush=True)
    return dataset
