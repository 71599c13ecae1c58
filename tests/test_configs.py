"""The configurations in model/configs: each loads, builds, learns, and says what the paper says."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.ablation import load_ablation
from model.checkpoint import weights_of
from model.config import DataConfig, TrainConfig, load_config
from model.dataset import PARTITIONS, Dataset, Sample
from model.errors import ConfigError
from model.network import NetworkConfig
from model.networks import build_network
from model.sampler import Sampler
from model.training import Training

CONFIGS = Path(__file__).parent.parent / "model" / "configs"
# ablation.yaml is a table of many experiments, for `metagait ablate`.
EXPERIMENTS = sorted({*CONFIGS.glob("*.yaml")} - {CONFIGS / "ablation.yaml"})

PAPER = [
    (f"casia-b-{partition}{suffix}", partition, size, (8, 8), (32, 64, 128), 128, 100_000)
    for partition in ("st", "mt", "lt")
    for suffix, size in (("", (64, 44)), ("-128", (128, 88)))
] + [
    ("oumvlp", "oumvlp", (64, 44), (32, 8), (64, 128, 256), 256, 250_000),
    ("oumvlp-128", "oumvlp", (128, 88), (32, 8), (64, 128, 256), 256, 250_000),
]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_configuration_is_named_as_its_file_and_builds(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    with torch.device("meta"):  # shapes without numbers: the large ones are large
        network = build_network(config.network)
    assert sum(parameter.numel() for parameter in network.parameters()) > 10_000


def noise(size: tuple[int, int]) -> Dataset:
    """Two walks each of two people, silhouettes of that size."""

    class Noise:
        def __init__(self, seed: int) -> None:
            self._seed = seed

        def read(self) -> NDArray[np.uint8]:
            return np.random.default_rng(self._seed).integers(0, 256, (9, *size), np.uint8)

    places = [(s, k) for s in range(2) for k in range(2)]
    return Dataset(
        tuple(Sample(f"{s:03}", f"nm-{k:02}", "090", 9, Noise(10 * s + k)) for s, k in places), size
    )


def first_step(config: TrainConfig) -> None:
    """Learn from one batch with all of a configuration but width, batch and start."""
    slim = replace(
        config,
        start=None,
        network=replace(config.network, channels=(2, 4, 4), dimensions=4),
        sampler=replace(config.sampler, subjects=2, samples=2, frames=9),
    )
    dataset = noise(config.network.size)
    training = Training(slim, dataset.subjects)
    before = weights_of(training.network)
    figures = training.step(Sampler(dataset, slim.sampler, slim.seed).batch(0))
    assert math.isfinite(figures.loss)
    assert figures.cross_entropy > 0
    after = weights_of(training.network)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert {name for name, _ in training.network.named_parameters()} <= moved


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_configuration_takes_its_first_step(path: Path) -> None:
    first_step(load_config(path))


@pytest.mark.parametrize("row", load_ablation(CONFIGS / "ablation.yaml").rows)
def test_every_row_of_the_ablation_takes_its_first_step(row: str) -> None:
    first_step(load_ablation(CONFIGS / "ablation.yaml").rows[row])


@pytest.mark.parametrize(
    ("name", "partition", "size", "batch", "channels", "dimensions", "iterations"), PAPER
)
def test_the_papers_settings_stand_in_the_papers_configurations(
    *,
    name: str,
    partition: str,
    size: tuple[int, int],
    batch: tuple[int, int],
    channels: tuple[int, int, int],
    dimensions: int,
    iterations: int,
) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.name == name
    assert config.data.partition == partition
    assert partition in PARTITIONS
    assert config.network == NetworkConfig(size=size, channels=channels, dimensions=dimensions)
    assert (config.sampler.subjects, config.sampler.samples, config.sampler.frames) == (*batch, 30)
    assert config.iterations == iterations
    assert (config.loss.margin, config.loss.cross_entropy) == (0.2, 1.0)
    assert config.optimiser.weight_decay == 5e-4
    assert config.optimiser.rate(149_999, iterations) == pytest.approx(1e-4)
    late = 1e-5 if partition == "oumvlp" else 1e-4
    assert config.optimiser.rate(150_000, iterations) == pytest.approx(late)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_configuration_says_only_what_differs_from_the_one_it_extends(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base",
        "name: base\niterations: 5\ndata: {path: x, partition: lt}\n"
        "optimiser: {schedule: step, steps: [1, 2]}\n",
    )
    text = "extends: base\nname: one\ndata: {partition: st}\noptimiser: {steps: [4]}\n"
    config = load_config(write(tmp_path, "one", text))
    assert (config.name, config.iterations) == ("one", 5)
    assert (config.data.path, config.data.partition) == ("x", "st")
    assert (config.optimiser.schedule, config.optimiser.steps) == ("step", (4,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: nothing\nname: one", r"nothing\.yaml"),
        ("extends: two\nname: one", "a chain"),
        ("extends: [base]\nname: one", r"extends: expected the name"),
        ("extends: ../base\nname: one", r"extends: expected the name"),
        ("extends: base\nname: one\nfoo: 1", "foo: unknown key"),
        ("extends: base\nname: one\ndata: {foo: 1}", r"data\.foo: unknown key"),
        ("extends: base\nname: one\ndata: 3", "data: expected keys"),
    ],
)
def test_what_cannot_be_extended_is_refused(text: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, "base", "name: base\niterations: 5\ndata: {path: x}")
    write(tmp_path, "two", "extends: base\nname: two")
    with pytest.raises(ConfigError, match=said):
        load_config(write(tmp_path, "one", text))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DataConfig(path="x", partition="xl"), r"data\.partition.*'xl'"),
        (lambda: DataConfig(path="x", layout="casia"), r"data\.layout.*'casia'"),
        (lambda: DataConfig(path="x", partition="lt", train_subjects=3), "got several"),
        (lambda: DataConfig(path="x", train_ids=("1",), train_subjects=3), "got several"),
        (DataConfig, "both or neither"),
    ],
)
def test_data_that_contradict_themselves_are_refused(
    make: Callable[[], TrainConfig], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
