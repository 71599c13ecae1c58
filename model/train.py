"""`metagait train`: a visible loop from a configuration to a checkpoint.

    metagait train model/configs/demo.yaml --resume

One process, on a CUDA device when there is one. The state is written every so many iterations, at
SIGTERM and at Ctrl-C; `--resume` goes on from there and gives the bits that an uninterrupted
training on the same machine and number of threads would have given.
"""

import argparse
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from model.caches import packed, training_dataset
from model.checkpoint import (
    Checkpoint,
    current_commit,
    load_checkpoint,
    save_checkpoint,
    weights_of,
)
from model.config import TrainConfig, load_config, plain
from model.dataset import Dataset
from model.errors import ConfigError
from model.layers import Classifier
from model.losses import cross_entropy, triplet_loss
from model.networks import Network, build_network
from model.sampler import Batch, Sampler, prefetched

PROGRESS_EVERY = 20
RUNS = Path("runs")


@dataclass(frozen=True)
class Figures:
    """What a progress line says, means over the iterations since the last one."""

    loss: float
    triplet: float
    cross_entropy: float
    nonzero: float
    """Share of triplets that still violate the margin."""
    distance: float
    """Mean Euclidean distance within the batch."""


class Training:
    """The parts that learn, and how they are saved and brought back."""

    def __init__(self, config: TrainConfig, subjects: tuple[str, ...]) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.subjects = subjects
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: Network = build_network(config.network).to(self.device)
        parts, dimensions = config.network.parts, config.network.dimensions
        self.classifier = Classifier(parts, dimensions, len(subjects)).to(self.device)
        self.parameters = [*self.network.parameters(), *self.classifier.parameters()]
        rate, decay = config.optimiser.learning_rate, config.optimiser.weight_decay
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate, weight_decay=decay)
        self.iteration = 0

    def step(self, batch: Batch) -> Figures:
        """Learn from one batch (paper, Eq. 9)."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.optimiser.rate(self.iteration, self.config.iterations)
        loss, figures = self._loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.optimiser.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.optimiser.clip_norm)
        self.optimiser.step()
        self.iteration += 1
        return figures

    def save(self, path: Path, figures: Figures | None) -> None:
        """Write a checkpoint."""
        checkpoint = Checkpoint(
            config=self.config,
            iteration=self.iteration,
            subjects=self.subjects,
            network=weights_of(self.network),
            classifier=weights_of(self.classifier),
            optimiser=self.optimiser.state_dict(),
            random_state=torch.get_rng_state(),
            commit=current_commit(),
            metrics=asdict(figures) if figures else {},
        )
        save_checkpoint(checkpoint, path)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            ConfigError: it is of another network or other subjects.

        """
        if checkpoint.config.network != self.config.network:
            raise ConfigError(
                f"network: expected the checkpoint's {checkpoint.config.network}, "
                f"got {self.config.network}"
            )
        if checkpoint.subjects != self.subjects:
            raise ConfigError(
                f"data: expected the checkpoint's {len(checkpoint.subjects)} subjects, "
                f"got {len(self.subjects)} others"
            )
        self.network.load_state_dict(checkpoint.network)
        self.classifier.load_state_dict(checkpoint.classifier)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        torch.set_rng_state(checkpoint.random_state)
        self.iteration = checkpoint.iteration

    def _loss(self, batch: Batch) -> tuple[Tensor, Figures]:
        silhouettes, lengths, labels = (
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (batch.silhouettes, batch.lengths, batch.labels)
        )
        with self._precision():
            embedding = self.network(silhouettes, lengths)
        triplet = triplet_loss(embedding, labels, self.config.loss.margin)
        weight = self.config.loss.cross_entropy
        entropy = cross_entropy(self.classifier(embedding), labels) if weight else torch.zeros(())
        loss = triplet.loss + weight * entropy
        return loss, Figures(
            loss=float(loss.detach()),
            triplet=float(triplet.loss.detach()),
            cross_entropy=float(entropy.detach()),
            nonzero=float(triplet.nonzero_share),
            distance=float(triplet.mean_distance),
        )

    def _precision(self) -> AbstractContextManager[object]:
        narrow = computes_in_bfloat16(self.config.precision, self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=narrow)


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Say whether to compute in bfloat16: "auto" does where the hardware has it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions cannot tell; float32 is then the safe answer.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def train(config: TrainConfig, dataset: Dataset, output: Path, *, resume: bool = False) -> bool:
    """Train until the configuration's last iteration; return False when a signal ended it before.

    Raises:
        ConfigError: `output` already holds a training that `resume` was not given for, or one of
            another configuration.
        DatasetError: the dataset has too few subjects for a batch.

    """
    path = output / "checkpoint.pt"
    if path.exists() and not resume:
        raise ConfigError(f"expected a new output folder or --resume, got {path}, which exists")
    training = Training(config, dataset.subjects)
    if path.exists():
        training.resume(load_checkpoint(path))
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.json").write_text(json.dumps(plain(config), indent=1))
    sampler = Sampler(dataset, config.sampler, config.seed)
    progress = Progress(config.iterations, output / "log.jsonl", training.iteration)
    ahead = range(training.iteration, config.iterations)
    with stop_signals() as stopped:
        for batch in prefetched(sampler.batch, ahead):
            progress.add(training.step(batch), training.iteration)
            last = training.iteration == config.iterations or stopped.is_set()
            if last or training.iteration % config.checkpoint_every == 0:
                training.save(path, progress.latest)
            if stopped.is_set():
                print(f"stopped at iteration {training.iteration}; --resume goes on", flush=True)
                return training.iteration == config.iterations
    return True


class Progress:
    """Prints and logs a line every `PROGRESS_EVERY` iterations."""

    def __init__(self, iterations: int, log: Path, done: int) -> None:
        self.latest: Figures | None = None
        self._iterations, self._log = iterations, log
        self._since, self._started = done, time.perf_counter()
        self._pending: list[Figures] = []
        _forget_after(done, log)

    def add(self, figures: Figures, iteration: int) -> None:
        """Take the figures of one iteration; `iteration` counts it."""
        self._pending.append(figures)
        if iteration % PROGRESS_EVERY and iteration != self._iterations:
            return
        self.latest = _mean(self._pending)
        now = time.perf_counter()
        rate = (iteration - self._since) / max(now - self._started, 1e-9)
        self._since, self._started, self._pending = iteration, now, []
        minutes = (self._iterations - iteration) / rate / 60
        print(
            f"{iteration:>6}/{self._iterations} {rate:5.2f} it/s, {minutes:5.1f} min left, "
            f"loss {self.latest.loss:.4f} triplet {self.latest.triplet:.4f} "
            f"ce {self.latest.cross_entropy:.4f} nonzero {self.latest.nonzero:.3f} "
            f"distance {self.latest.distance:.3f}",
            flush=True,
        )
        with self._log.open("a") as file:
            entry = {"iteration": iteration, "rate": round(rate, 3), **asdict(self.latest)}
            file.write(json.dumps(entry) + "\n")


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event that is looked at between iterations.

    A second signal acts as it always does. Outside the main thread nothing is changed: only the
    main thread may set handlers.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, former[signal.Signals(number)])

    for number in former:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait train`."""
    parser.add_argument("config", type=Path, help="YAML configuration, see model/configs")
    parser.add_argument("--resume", action="store_true", help="go on where the output stopped")
    parser.add_argument("--output", type=Path, help="folder for checkpoint and log (runs/<name>)")
    parser.add_argument("--iterations", type=int, help="instead of the configuration's")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as many as cores)")
    parser.add_argument("--data", type=Path, help="dataset folder instead of the configuration's")


def run(arguments: argparse.Namespace) -> int:
    """Train; 130 when a signal ended it before its last iteration."""
    config = load_config(arguments.config)
    if arguments.iterations is not None:
        config = replace(config, iterations=arguments.iterations)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    output = arguments.output or RUNS / config.name
    size = config.network.size
    if arguments.data:
        dataset = packed(arguments.data, size, RUNS)
    else:
        dataset = training_dataset(config.data, size, RUNS)
    print(f"{len(dataset.samples)} samples of {len(dataset.subjects)} subjects", flush=True)
    for line in dataset.report.lines():
        print(f"  {line}", flush=True)
    return 0 if train(config, dataset, output, resume=arguments.resume) else 130


def _forget_after(iteration: int, log: Path) -> None:
    """Drop log lines beyond the checkpoint: their iterations are about to be done again."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(x for x in lines if json.loads(x)["iteration"] <= iteration))


def _mean(figures: list[Figures]) -> Figures:
    names = Figures.__dataclass_fields__
    return Figures(**{n: sum(getattr(f, n) for f in figures) / len(figures) for n in names})
