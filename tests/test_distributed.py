"""Several processes: killed ones that go on to the bit, and two that learn what one would."""

import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.checkpoint import load_checkpoint
from model.config import TrainConfig
from model.dataset import Dataset, Sample
from model.distributed import Group, joined
from model.errors import ConfigError
from model.sampler import Sampler, SamplerConfig
from model.train import Conduct, train
from tests.tiny import TINY, Noise, noise_dataset
from tests.waiting import free_port

TWENTY = replace(TINY, iterations=20, checkpoint_every=5)
SHARED = replace(
    TINY,
    iterations=2,
    precision="float32",
    sampler=SamplerConfig(subjects=2, samples=4, frames=3),
)


class Deadly:
    """A source that ends its process, as `kill -9` does, at its `reads`-th read."""

    def __init__(self, reads: int) -> None:
        self._noise, self._left = Noise(0), reads

    def read(self) -> np.ndarray:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._noise.read()


def deadly_dataset(reads: int) -> Dataset:
    source = Deadly(reads)
    return Dataset(
        tuple(Sample(f"{s:03}", f"nm-{k:02}", "090", 5, source) for s in range(2) for k in range(2))
    )


def train_until_killed(output: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    # Four clips a batch, drawn one batch ahead: the 44th is read while iteration 10 or 11 runs.
    train(TWENTY, deadly_dataset(44), output)


def train_as_one_of_two(rank: int, port: int, output: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    with joined() as group:
        train(SHARED, noise_dataset(subjects=3), output, Conduct(group=group))


def started(target: Any, *arguments: object) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    process = started(train_until_killed, tmp_path / "killed", torch.get_num_threads())
    process.join(timeout=900)
    assert process.exitcode == -signal.SIGKILL
    left = load_checkpoint(tmp_path / "killed" / "checkpoint.pt").iteration
    assert left in {5, 10}

    assert train(TWENTY, deadly_dataset(0), tmp_path / "killed", Conduct(resume=True))
    assert train(TWENTY, deadly_dataset(0), tmp_path / "whole")
    killed, whole = (load_checkpoint(tmp_path / n / "checkpoint.pt") for n in ("killed", "whole"))
    assert killed.iteration == whole.iteration == 20
    for name in ("network", "average", "classifier"):
        one, other = getattr(killed, name), getattr(whole, name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def gradients(config: TrainConfig, output: Path) -> list[torch.Tensor]:
    """The optimiser's moving means of the gradients, a parameter each."""
    state = load_checkpoint(output / "checkpoint.pt").optimiser["state"]
    return [state[place]["exp_avg"] for place in sorted(state)]


def test_two_processes_learn_what_one_would(tmp_path: Path) -> None:
    port = free_port()
    pair = [started(train_as_one_of_two, rank, port, tmp_path / "two") for rank in range(2)]
    assert train(SHARED, noise_dataset(subjects=3), tmp_path / "one")
    for process in pair:
        process.join(timeout=900)
    assert [process.exitcode for process in pair] == [0, 0]
    for alone, shared in zip(
        gradients(SHARED, tmp_path / "one"), gradients(SHARED, tmp_path / "two"), strict=True
    ):
        assert float((alone - shared).abs().max()) <= 2e-3 * float(alone.abs().max())
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    assert one.metrics["loss"] == pytest.approx(two.metrics["loss"], rel=1e-4)
    for key in ("neck.running_mean", "neck.running_var"):
        torch.testing.assert_close(one.network[key], two.network[key], rtol=1e-3, atol=1e-4)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 1


def test_shares_of_a_batch_are_the_batch() -> None:
    dataset, config = noise_dataset(), SamplerConfig(subjects=2, samples=2, frames=4)
    whole = Sampler(dataset, config, 1).batch(3)
    shares = [Sampler(dataset, config, 1, Group(rank, 2)).batch(3) for rank in range(2)]
    for name in ("silhouettes", "lengths", "labels"):
        joint = np.concatenate([getattr(share, name) for share in shares])
        np.testing.assert_array_equal(joint, getattr(whole, name))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 processes can share, got 4"):
        Sampler(noise_dataset(), SamplerConfig(subjects=2, samples=2), 1, Group(0, 3))


def test_a_process_by_itself_changes_nothing() -> None:
    own = torch.rand(2, 3, requires_grad=True)
    with joined() as group:
        assert group == Group()
        assert group.gathered(own) is own
        assert group.any(True, torch.device("cpu"))
        assert not group.any(False, torch.device("cpu"))


def test_a_classifier_that_learns_nothing_has_nothing_to_share() -> None:
    unused = torch.nn.Parameter(torch.zeros(2))
    Group(0, 2).average([unused])
    assert unused.grad is None
