"""The training loop: resumed, stopped by a signal or the clock, logged, averaged."""

import json
import math
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metagait import main
from model.checkpoint import load_checkpoint, load_network
from model.config import DataConfig, LossConfig, OptimiserConfig, TrainConfig, plain
from model.dataset import Dataset, Sample
from model.errors import ConfigError, TrainingError
from model.gaitset import GaitSet, GaitSetConfig
from model.hyper import MetaHyperNetwork, weight_sources
from model.network import NetworkConfig
from model.sampler import Sampler
from model.stopping import stop_signals
from model.train import Conduct, deadline_in, train
from model.training import Training
from tests.datasets import walk, write_sample
from tests.tiny import TINY, Noise, noise_dataset


class Stopping:
    """A source that sends this process a signal when it is first read in the second batch."""

    def __init__(self) -> None:
        self._noise, self._reads = Noise(0), 0

    def read(self) -> np.ndarray:
        self._reads += 1
        if self._reads == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._noise.read()


@pytest.fixture
def dataset() -> Dataset:
    return noise_dataset()


@pytest.mark.parametrize("meta_rate", [1.0, 0.1])
def test_resumed_training_gives_the_same_bits(
    meta_rate: float, dataset: Dataset, tmp_path: Path
) -> None:
    config = replace(TINY, optimiser=replace(TINY.optimiser, meta_rate=meta_rate))
    assert train(config, dataset, tmp_path / "whole")
    first_half = Training(config, dataset.subjects)
    sampler = Sampler(dataset, config.sampler, config.seed)
    for iteration in range(3):
        first_half.step(sampler.batch(iteration))
    first_half.save(tmp_path / "halves" / "checkpoint.pt", None)
    torch.manual_seed(99)
    assert train(config, dataset, tmp_path / "halves", Conduct(resume=True))

    whole = load_checkpoint(tmp_path / "whole" / "checkpoint.pt")
    halves = load_checkpoint(tmp_path / "halves" / "checkpoint.pt")
    assert whole.iteration == halves.iteration == 6
    pairs = [(getattr(whole, n), getattr(halves, n)) for n in ("network", "average", "classifier")]
    for one, other in pairs:
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(whole.random_state, halves.random_state)
    moments = [c.optimiser["state"][0]["exp_avg"] for c in (whole, halves)]
    assert torch.equal(*moments)


def test_calibration_networks_learn_at_a_rate_of_their_own(dataset: Dataset) -> None:
    settings = OptimiserConfig(learning_rate=1e-2, weight_decay=0, meta_rate=0.1)
    training = Training(replace(TINY, optimiser=settings), dataset.subjects)
    before = {key: value.clone() for key, value in training.network.named_parameters()}
    training.step(Sampler(dataset, TINY.sampler, 1).batch(0))
    moved = {
        key: float((value - before[key]).detach().abs().max())
        for key, value in training.network.named_parameters()
    }
    # Adam's first step is as long as the rate, wherever there is a gradient.
    meta = [distance for key, distance in moved.items() if ".weights." in key]
    others = [distance for key, distance in moved.items() if ".weights." not in key]
    assert max(meta) == pytest.approx(1e-3, rel=0.01)
    assert max(others) == pytest.approx(1e-2, rel=0.01)


def test_calibration_networks_start_as_small_as_asked(dataset: Dataset) -> None:
    plain_start = Training(TINY, dataset.subjects)
    small_start = Training(replace(TINY, meta_start=0.1), dataset.subjects)
    sources = [weight_sources(one.network) for one in (plain_start, small_start)]
    assert len(sources[0]) == 4
    for source, small in zip(*sources, strict=True):
        assert isinstance(source, MetaHyperNetwork)
        assert isinstance(small, MetaHyperNetwork)
        statistics = torch.rand(2, source.meta_1.in_features)
        made, smaller = source(statistics), small(statistics)
        for key, weights in made.items():
            torch.testing.assert_close(smaller[key], 0.1 * weights)
    trunks = [
        {k: v for k, v in one.network.state_dict().items() if ".weights." not in k}
        for one in (plain_start, small_start)
    ]
    assert all(torch.equal(value, trunks[1][key]) for key, value in trunks[0].items())


def test_learning_changes_weights_and_lowers_the_loss(dataset: Dataset) -> None:
    constant = OptimiserConfig(learning_rate=1e-2, weight_decay=0)
    training = Training(replace(TINY, optimiser=constant), dataset.subjects)
    batch = Sampler(dataset, TINY.sampler, 1).batch(0)
    losses = [training.step(batch).loss for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_signal_saves_and_stops(tmp_path: Path) -> None:
    source = Stopping()
    samples = tuple(
        Sample(f"{s:03}", f"nm-{k:02}", "090", 5, source) for s in range(2) for k in range(2)
    )
    before = signal.getsignal(signal.SIGTERM)
    finished = train(replace(TINY, checkpoint_every=1000), Dataset(samples), tmp_path)
    assert not finished
    assert 0 < load_checkpoint(tmp_path / "checkpoint.pt").iteration < TINY.iterations
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_training_ends_when_its_time_is_up(dataset: Dataset, tmp_path: Path) -> None:
    assert not train(TINY, dataset, tmp_path, Conduct(pieces=True, deadline=0.0))
    assert not (tmp_path / "checkpoint.pt").exists()
    assert load_checkpoint(tmp_path / "checkpoint.pt").iteration == 1
    with pytest.raises(ConfigError, match="--resume"):
        train(TINY, dataset, tmp_path)
    assert train(replace(TINY, iterations=2), dataset, tmp_path, Conduct(resume=True))
    assert load_checkpoint(tmp_path / "checkpoint.pt").iteration == 2


def test_minutes_lie_ahead() -> None:
    assert deadline_in(None) == math.inf
    assert 0 < deadline_in(1.0) - time.monotonic() <= 60


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    seen: list[bool] = []

    def wait() -> None:
        with stop_signals() as stopped:
            seen.append(stopped.is_set())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_finished_training_is_not_overwritten(dataset: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, iterations=1), dataset, tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        train(TINY, dataset, tmp_path)
    other = replace(TINY, network=NetworkConfig(channels=(2, 2, 4), dimensions=4))
    with pytest.raises(ConfigError, match="network"):
        train(other, dataset, tmp_path, Conduct(resume=True))
    with pytest.raises(ConfigError, match="subjects"):
        train(TINY, dataset.of(dataset.subjects[:2]), tmp_path, Conduct(resume=True))


def test_going_on_with_other_settings_says_which(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(replace(TINY, iterations=1), dataset, tmp_path)
    capsys.readouterr()
    slower = replace(TINY.optimiser, learning_rate=1e-4)
    other = replace(TINY, iterations=2, optimiser=slower, data=DataConfig(path="moved"))
    assert train(other, dataset, tmp_path, Conduct(resume=True))
    assert (
        "going on with other settings than the checkpoint's: data.path moved (was unused), "
        "iterations 2 (was 1), optimiser.learning_rate 0.0001 (was 0.001)\n"
    ) in capsys.readouterr().out
    train(other, dataset, tmp_path, Conduct(resume=True))
    assert "other settings" not in capsys.readouterr().out


def test_a_training_that_has_more_iterations_than_asked_for_is_finished(
    dataset: Dataset, tmp_path: Path
) -> None:
    train(replace(TINY, iterations=2), dataset, tmp_path)
    assert train(replace(TINY, iterations=1), dataset, tmp_path, Conduct(resume=True))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            replace(TINY, optimiser=replace(TINY.optimiser, weight_decay=0.0)),
            r"optimiser\.weight_decay: expected the checkpoint's 0\.0005, got 0\.0, which would",
        ),
        (replace(TINY, meta_start=0.1), r"meta_start: expected the checkpoint's 1\.0, got 0\.1"),
    ],
)
def test_settings_that_would_have_no_effect_any_more_are_refused(
    other: TrainConfig, says: str, dataset: Dataset, tmp_path: Path
) -> None:
    train(replace(TINY, iterations=1), dataset, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ConfigError, match=says):
        train(other, dataset, tmp_path, Conduct(resume=True))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_training_that_goes_on_still_says_what_it_began_with(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(replace(TINY, iterations=1), dataset, tmp_path / "first")
    weights = str(tmp_path / "first" / "checkpoint.pt")
    train(replace(TINY, iterations=1, start=weights), dataset, tmp_path / "second")
    capsys.readouterr()
    train(replace(TINY, iterations=2), dataset, tmp_path / "second", Conduct(resume=True))
    assert "start" not in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "second" / "checkpoint.pt").config.start == weights
    with pytest.raises(ConfigError, match=r"start: expected the checkpoint's .*, got other\.onnx"):
        train(replace(TINY, start="other.onnx"), dataset, tmp_path / "second", Conduct(resume=True))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_leaves_the_checkpoint_before_it(
    broken: float, dataset: Dataset, tmp_path: Path
) -> None:
    train(replace(TINY, iterations=2), dataset, tmp_path)
    training = Training(TINY, dataset.subjects)
    training.resume(load_checkpoint(tmp_path / "checkpoint.pt"))
    with torch.no_grad():
        next(training.classifier.parameters()).fill_(broken)
    training.save(tmp_path / "checkpoint.pt", None)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(TrainingError, match="expected a finite loss in iteration 3, got nan"):
        train(TINY, dataset, tmp_path, Conduct(resume=True))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_another_folder_trains_the_same_half(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for subject in ("001", "062", "063", "124"):
        for condition in ("nm-01", "nm-02"):
            write_sample(tmp_path / "here", f"{subject}/{condition}/090", walk(5))
    text = json.dumps(plain(replace(TINY, iterations=1, data=DataConfig(path="gone"))))
    for name, data in (
        ("split", {"path": "gone", "partition": "mt"}),
        ("walkers", {"walkers": {}}),
    ):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({**json.loads(text), "data": data}))
        assert not main(["train", f"{name}.yaml", "--data", "here", "--output", name])
    halves = [load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("split", "walkers")]
    assert [one.subjects for one in halves] == [("001", "062"), ("001", "062", "063", "124")]
    assert [one.config.data.path for one in halves] == ["here", "here"]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_log_and_metrics(weight: float, dataset: Dataset, tmp_path: Path) -> None:
    config = replace(TINY, loss=LossConfig(contrastive=weight))
    train(config, dataset, tmp_path)
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    assert entry["iteration"] == 6
    assert entry["loss"] == pytest.approx(
        entry["triplet"] + entry["cross_entropy"] + weight * entry["contrastive"]
    )
    assert bool(entry["contrastive"]) == bool(weight)
    assert checkpoint.metrics["loss"] == entry["loss"]
    assert checkpoint.config == config
    assert json.loads((tmp_path / "config.json").read_text()) == plain(config)


def test_scalars_for_tensorboard(dataset: Dataset, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(replace(TINY, iterations=1), dataset, tmp_path, Conduct(scalars=True))
    events = reader.EventAccumulator(str(tmp_path / "scalars"))
    events.Reload()
    (event,) = events.Scalars("train/loss")
    logged = json.loads((tmp_path / "log.jsonl").read_text())
    assert event.step == 1
    assert event.value == pytest.approx(logged["loss"])


def test_log_lines_beyond_the_checkpoint_are_forgotten(dataset: Dataset, tmp_path: Path) -> None:
    Training(TINY, dataset.subjects).save(tmp_path / "checkpoint.pt", None)
    lines = ['{"iteration": 0}', '{"iteration": 20}', '{"iteration": 0, "los']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))  # the disk was full in the last one
    train(TINY, dataset, tmp_path, Conduct(resume=True))
    logged = [json.loads(x)["iteration"] for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == [0, 6]


def test_gaitset_trains_in_the_same_loop(dataset: Dataset, tmp_path: Path) -> None:
    network = GaitSetConfig(channels=(2, 3, 4), dimensions=4, scales=(1, 2))
    train(replace(TINY, network=network, iterations=2), dataset, tmp_path)
    loaded = load_network(tmp_path / "checkpoint.pt")
    assert isinstance(loaded, GaitSet)
    assert loaded.config == network


def test_the_average_follows_the_weights(dataset: Dataset) -> None:
    training = Training(replace(TINY, average=0.9), dataset.subjects)
    expected = training.network.stem.weight.detach().clone()
    sampler = Sampler(dataset, TINY.sampler, 1)
    for iteration in range(3):
        training.step(sampler.batch(iteration))
        decay = min(0.9, iteration / (iteration + 10))
        expected = decay * expected + (1 - decay) * training.network.stem.weight.detach()
    torch.testing.assert_close(training.average.weights["stem.weight"], expected)
    counts = training.average.weights["neck.num_batches_tracked"]
    assert int(counts) == 3
