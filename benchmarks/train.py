"""Compare the training loop's iterations per second with a plain eager float32 loop.

    python benchmarks/train.py --config model/configs/demo.yaml

Both loops train the same network on the same batches, in turn, so that other work on the machine
affects both. The batches come from random walks in memory. Our loop draws and augments them in a
background thread, so data cost it only the time that it waits for a batch; the goal is 5 % of an
iteration or less. The plain loop draws them itself. A figure is the median over the iterations.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import TrainConfig, load_config
from model.dataset import Dataset, Sample
from model.gaitset import GaitSet
from model.layers import Classifier
from model.losses import cross_entropy, triplet_loss
from model.network import MetaGait, NetworkConfig
from model.sampler import Batch, Sampler
from model.tables import markdown
from model.training import Training, computes_in_bfloat16

SUBJECTS = 64
GOAL = 0.05
GOAL_MET = {True: f"≤ {GOAL:.0%} met", False: f"≤ {GOAL:.0%} missed"}


class RandomWalk:
    """A source in memory, so that disk speed is not measured."""

    def __init__(self, seed: int, frames: int, size: tuple[int, int]) -> None:
        generator = np.random.default_rng(seed)
        self._walk = (generator.random((frames, *size)) > 0.7).astype(np.uint8) * 255

    def read(self) -> NDArray[np.uint8]:
        """Return the walk."""
        return self._walk


class PlainLoop:
    """The straightforward loop: float32, the default memory layout, the same losses."""

    def __init__(self, config: TrainConfig, ids: int) -> None:
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = config.network
        made = MetaGait(network) if isinstance(network, NetworkConfig) else GaitSet(network)
        self.network = made.to(self.device)
        self.classifier = Classifier(network.parts, network.dimensions, ids).to(self.device)
        parameters = [*self.network.parameters(), *self.classifier.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=config.optimiser.learning_rate)

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        arrays = (batch.silhouettes, batch.lengths, batch.labels)
        silhouettes, lengths, labels = (torch.from_numpy(a).to(self.device) for a in arrays)
        embedding = self.network(silhouettes, lengths)
        loss = triplet_loss(embedding, labels, self.config.loss.margin).loss
        loss = loss + cross_entropy(self.classifier(embedding), labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        float(loss.detach())


def main() -> None:
    """Print the table of both loops."""
    arguments = parsed()
    config = load_config(arguments.config)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dataset = random_dataset(config)
    sampler = Sampler(dataset, config.sampler, config.seed)
    ours = Training(replace(config, start=None), dataset.subjects)
    plain = PlainLoop(config, len(dataset.subjects))
    timed = times(sampler, ours, plain, arguments.iterations)
    narrow = computes_in_bfloat16(config.precision, ours.device, config.sampler.frames)
    shape = f"{config.sampler.subjects}×{config.sampler.samples}×{config.sampler.frames}"
    print(f"{config.name}, {shape}, {ours.device}, {torch.get_num_threads()} threads\n")
    print(markdown(table(timed, "bfloat16" if narrow else "float32")))


def times(
    sampler: Sampler, ours: Training, plain: PlainLoop, iterations: int
) -> dict[str, list[float]]:
    """Return the seconds of each step, in turn; ours trains while the next batch is drawn."""
    timed: dict[str, list[float]] = {"ours": [], "plain": [], "drawing": [], "waiting": []}
    batch = sampler.batch(0)
    with ThreadPoolExecutor(1) as thread:
        for iteration in range(iterations + 1):
            ahead = thread.submit(sampler.batch, iteration + 1)
            timed["ours"].append(seconds(lambda b=batch: ours.step(b)))
            timed["waiting"].append(seconds(ahead.result))
            timed["plain"].append(seconds(lambda b=batch: plain.step(b)))
            timed["drawing"].append(seconds(lambda i=iteration: sampler.batch(i)))
            batch = ahead.result()
    # The first round compiles, allocates and warms caches.
    return {name: values[1:] for name, values in timed.items()}


def table(timed: dict[str, list[float]], precision: str) -> list[list[str]]:
    """Return a row for each loop; the plain one draws its batches itself."""
    drawing, plain = np.array(timed["drawing"]), np.array(timed["plain"])
    waiting, ours = np.array(timed["waiting"]), np.array(timed["ours"])
    rows = [
        ("ours", precision, waiting + ours, waiting),
        ("plain", "float32", drawing + plain, drawing),
    ]
    whole = drawing + plain
    head = ["loop", "precision", "iterations/s", "× plain", "waits for data", "goal"]
    return [
        head,
        *(
            [
                name,
                kind,
                f"{1 / np.median(took):.3f}",
                f"{np.median(whole / took):.2f}",
                f"{np.median(waits / took):.1%}",
                GOAL_MET[bool(np.median(waits / took) <= GOAL)] if name == "ours" else "–",
            ]
            for name, kind, took, waits in rows
        ),
    ]


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("model/configs/demo.yaml"))
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def random_dataset(config: TrainConfig) -> Dataset:
    """Return random walks, twice as long as a clip, of enough subjects for a batch."""
    frames, size = 2 * config.sampler.frames, config.network.size
    return Dataset(
        tuple(
            Sample(f"{s:03}", f"nm-{k:02}", "090", frames, RandomWalk(8 * s + k, frames, size))
            for s in range(max(SUBJECTS, config.sampler.subjects))
            for k in range(4)
        ),
        size,
    )


def seconds(work: Callable[[], object]) -> float:
    """Time one call to its end, also on a GPU."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
