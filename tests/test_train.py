"""Configurations, checkpoints and the training loop."""

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

from model.caches import BENCHMARK, VALIDATION, packed, training_dataset
from model.checkpoint import has_checkpoint, load_checkpoint, load_network, save_checkpoint
from model.config import (
    DataConfig,
    OptimiserConfig,
    TrainConfig,
    WalkersConfig,
    build,
    load_config,
    plain,
)
from model.dataset import Dataset, Sample
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.errors import ConfigError, ModelFileError
from model.gaitset import GaitSet, GaitSetConfig
from model.network import MetaGait, NetworkConfig
from model.networks import build_network
from model.sampler import Sampler
from model.start import start_from
from model.stopping import stop_signals
from model.train import Conduct, deadline_in, train
from model.training import Training, computes_in_bfloat16
from model.walkers import WalkerSettings
from tests.datasets import write_cache
from tests.tiny import TINY, Noise, noise_dataset

CONFIGS = Path(__file__).parent.parent / "model" / "configs"


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


def test_shipped_configurations_load() -> None:
    demo = load_config(CONFIGS / "demo.yaml")
    assert demo.data.walkers is not None
    paper = load_config(CONFIGS / "casia-b-lt.yaml")
    assert paper.network == NetworkConfig()
    assert (paper.sampler.subjects, paper.sampler.samples, paper.sampler.frames) == (8, 8, 30)
    assert paper.data.partition == "lt"
    assert paper.optimiser.rate(50_000, paper.iterations) == 1e-4


# ablation.yaml holds many configurations; tests/test_ablation.py reads it.
SINGLE = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != "ablation.yaml")


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.name)
def test_every_configuration_is_built_and_written_back(path: Path) -> None:
    config = load_config(path)
    assert build(TrainConfig, json.loads(json.dumps(plain(config)))) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iteration: 5", "iteration: unknown key"),
        ("sampler: {frame: 5}", "sampler.frame: unknown key"),
        ("sampler: {augment: {miror: 1}}", "sampler.augment.miror: unknown key"),
        ("iterations: many", "iterations: expected int, got 'many'"),
        ("iterations: true", "iterations: expected int, got True"),
        ("iterations: 0", "iterations: expected at least 1"),
        ("network: {channels: [1, 2]}", "network.channels: expected 3 values"),
        ("network: {channels: 4}", "network.channels: expected a list"),
        ("network: {attention: [colour]}", "network.attention"),
        ("network: {kind: gaitpart}", "network.kind: expected one of ('metagait', 'gaitset')"),
        ("network: {kind: 5}", "network.kind: expected one of ('metagait', 'gaitset')"),
        ("network: {kind: gaitset, gate: true}", "network.gate: unknown key"),
        ("network: 5", "network: expected keys and values"),
        ("optimiser: {schedule: sine}", "optimiser.schedule"),
        ("precision: half", "precision"),
        ("sampler: 5", "sampler: expected keys and values"),
        ("data: {}", "data: expected either"),
        ("data: {path: a, walkers: {}}", "data: expected either"),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path: Path, text: str, said: str) -> None:
    values = {"name": "name: x", "data": "data: {path: somewhere}", "iterations": "iterations: 5"}
    values.pop(text.split(":", maxsplit=1)[0], None)
    (tmp_path / "c.yaml").write_text("\n".join([*values.values(), text]))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml")
    assert said in str(caught.value)


def test_the_kind_names_the_network() -> None:
    values = {"name": "x", "iterations": 1, "data": {"path": "x"}}
    gaitset = build(TrainConfig, {**values, "network": {"kind": "gaitset", "channels": [2, 3, 4]}})
    assert gaitset.network == GaitSetConfig(channels=(2, 3, 4))
    assert build(TrainConfig, plain(gaitset)) == gaitset
    assert build(TrainConfig, {**values, "network": {}}).network == NetworkConfig()


def test_configurations_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name: expected this key"):
        build(TrainConfig, {"iterations": 1, "data": {"path": "x"}})
    with pytest.raises(ConfigError, match="YAML"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="keys and values"):
        load_config(tmp_path / "list.yaml")


def test_learning_rates() -> None:
    cosine = OptimiserConfig(learning_rate=1.0, schedule="cosine", warm_up=10)
    assert cosine.rate(0, 110) == pytest.approx(0.1)
    assert cosine.rate(9, 110) == pytest.approx(1.0)
    assert cosine.rate(60, 110) == pytest.approx(0.5)
    assert cosine.rate(110, 110) == pytest.approx(0.0)
    step = OptimiserConfig(learning_rate=1.0, schedule="step", steps=(5, 8))
    assert [round(step.rate(i, 10), 6) for i in (0, 4, 5, 7, 8)] == [1, 1, 0.1, 0.1, 0.01]


def test_resumed_training_gives_the_same_bits(dataset: Dataset, tmp_path: Path) -> None:
    assert train(TINY, dataset, tmp_path / "whole")
    first_half = Training(TINY, dataset.subjects)
    sampler = Sampler(dataset, TINY.sampler, TINY.seed)
    for iteration in range(3):
        first_half.step(sampler.batch(iteration))
    first_half.save(tmp_path / "halves" / "checkpoint.pt", None)
    torch.manual_seed(99)
    assert train(TINY, dataset, tmp_path / "halves", Conduct(resume=True))

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
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="--minutes"):
            deadline_in(wrong)


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


def test_log_and_metrics(dataset: Dataset, tmp_path: Path) -> None:
    train(TINY, dataset, tmp_path)
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    assert entry["iteration"] == 6
    assert entry["loss"] == pytest.approx(entry["triplet"] + entry["cross_entropy"])
    assert checkpoint.metrics["loss"] == entry["loss"]
    assert checkpoint.config == TINY
    assert json.loads((tmp_path / "config.json").read_text()) == plain(TINY)


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
    lines = ['{"iteration": 0}', '{"iteration": 20}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    train(TINY, dataset, tmp_path, Conduct(resume=True))
    logged = [json.loads(x)["iteration"] for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == [0, 6]


def test_network_of_a_checkpoint_is_ready_to_embed(dataset: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, iterations=2), dataset, tmp_path)
    network = load_network(tmp_path / "checkpoint.pt")
    assert not network.training
    walk = torch.from_numpy(dataset.samples[0].silhouettes())[None]
    with torch.inference_mode():
        embedding = network(walk, torch.tensor([5]))
    assert embedding.shape == (1, 64, 4)
    assert torch.isfinite(embedding).all()


def test_gaitset_trains_in_the_same_loop(dataset: Dataset, tmp_path: Path) -> None:
    network = GaitSetConfig(channels=(2, 3, 4), dimensions=4, scales=(1, 2))
    train(replace(TINY, network=network, iterations=2), dataset, tmp_path)
    loaded = load_network(tmp_path / "checkpoint.pt")
    assert isinstance(loaded, GaitSet)
    assert loaded.config == network


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="checkpoint"):
        load_checkpoint(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ModelFileError, match="checkpoint"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"format": "other"}, tmp_path / "other.pt")
    with pytest.raises(ModelFileError, match="format"):
        load_checkpoint(tmp_path / "other.pt")


def test_weights_of_another_network_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    Training(TINY, dataset.subjects).save(tmp_path / "checkpoint.pt", None)
    checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")
    del checkpoint.average["neck.running_mean"]
    save_checkpoint(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelFileError, match=r"neck\.running_mean"):
        load_network(tmp_path / "checkpoint.pt")


def test_an_interrupted_write_leaves_the_older_checkpoint(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Training(TINY, dataset.subjects).save(path, None)
    unwritable = replace(load_checkpoint(path), metrics={"loss": lambda: None})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(unwritable, path)
    assert load_checkpoint(path).iteration == 0


def test_walkers_that_models_are_judged_by_are_not_trained_on(tmp_path: Path) -> None:
    for kept in (BENCHMARK, VALIDATION):
        overlapping = WalkersConfig(first=kept.first - 5, subjects=6)
        with pytest.raises(ConfigError, match="judged"):
            training_dataset(DataConfig(walkers=overlapping), (64, 44), tmp_path)
    assert BENCHMARK.first >= VALIDATION.first + VALIDATION.subjects


def test_walkers_are_generated_once(tmp_path: Path) -> None:
    few = WalkersConfig(
        subjects=2, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=4)
    )
    first = training_dataset(DataConfig(walkers=few), (64, 44), tmp_path)
    (cache,) = (tmp_path / "cache").glob("walkers-*")
    stamp = cache.stat().st_mtime_ns
    again = training_dataset(DataConfig(walkers=few), (64, 44), tmp_path)
    assert [s.name for s in first.samples] == ["0001/nm-01/090", "0002/nm-01/090"]
    assert first.samples == again.samples
    assert cache.stat().st_mtime_ns == stamp


def test_a_packed_folder_is_used_as_it_is(dataset: Dataset, tmp_path: Path) -> None:
    write_cache(dataset, tmp_path / "packed")
    opened = packed(tmp_path / "packed", (64, 44), tmp_path / "runs")
    assert len(opened.samples) == 6
    assert not (tmp_path / "runs").exists()


def test_precision_is_as_asked() -> None:
    cpu = torch.device("cpu")
    assert computes_in_bfloat16("bfloat16", cpu)
    assert not computes_in_bfloat16("float32", cpu)


def test_a_checkpoint_in_pieces_is_the_same_checkpoint(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Training(TINY, dataset.subjects).save(path, None)
    whole = load_checkpoint(path)
    save_checkpoint(whole, path, pieces=True)
    assert not path.exists()
    assert has_checkpoint(path)
    joined = load_checkpoint(path)
    assert joined.config == whole.config
    assert all(torch.equal(joined.network[key], whole.network[key]) for key in whole.network)
    save_checkpoint(whole, path)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


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


def test_an_export_takes_the_average_and_a_resume_both(dataset: Dataset, tmp_path: Path) -> None:
    config = replace(TINY, average=0.9)
    train(config, dataset, tmp_path / "whole")
    once = replace(config, iterations=4)
    train(once, dataset, tmp_path / "halves")
    whole = load_checkpoint(tmp_path / "whole" / "checkpoint.pt")
    exported = load_network(tmp_path / "whole" / "checkpoint.pt").state_dict()
    torch.testing.assert_close(exported["stem.weight"], whole.average["stem.weight"])
    assert not torch.equal(whole.average["stem.weight"], whole.network["stem.weight"])
    assert load_checkpoint(tmp_path / "halves" / "checkpoint.pt").average.keys() == exported.keys()


def test_a_training_begins_with_given_weights(dataset: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, iterations=2), dataset, tmp_path / "first")
    begun = Training(TINY, dataset.subjects)
    begun.begin_from(tmp_path / "first" / "checkpoint.pt")
    expected = load_checkpoint(tmp_path / "first" / "checkpoint.pt").average
    torch.testing.assert_close(begun.network.state_dict(), expected)
    torch.testing.assert_close(begun.average.weights, expected)


def test_weights_that_do_not_fit_are_no_start(dataset: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, iterations=1), dataset, tmp_path)
    wider = build_network(NetworkConfig(channels=(4, 4, 4), dimensions=4))
    with pytest.raises(ModelFileError, match="none of the right shape for a0"):
        start_from(tmp_path / "checkpoint.pt", wider)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelFileError, match="expected an ONNX model"):
        start_from(tmp_path / "text.onnx", wider)


def test_the_weights_that_ship_can_be_taken_further() -> None:
    network = build_network(load_config(CONFIGS / "demo.yaml").network)
    assert isinstance(network, MetaGait)
    before = network.stem.weight.detach().clone()
    start_from(SHIPPED_MODEL, network)
    assert not torch.equal(before, network.stem.weight)
    walk = np.random.default_rng(0).integers(0, 256, (9, 64, 44), np.uint8)
    expected = OnnxEncoder.open(SHIPPED_MODEL, provider="cpu").encode([walk])[0]
    with torch.inference_mode():
        ours = network.eval()(torch.from_numpy(walk)[None], torch.tensor([9]))
    np.testing.assert_allclose(ours.flatten().numpy(), expected, atol=1e-4)
