"""The file of a training: keys, values and kinds are checked, rates follow the schedule."""

import json
from pathlib import Path

import pytest

from model.config import OptimiserConfig, TrainConfig, build, load_config, plain
from model.errors import ConfigError
from model.gaitset import GaitSetConfig
from model.network import NetworkConfig

CONFIGS = Path(__file__).parent.parent / "model" / "configs"


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
        ("seed: -1", "seed: expected 0 to 9223372036854775807, got -1"),
        ("seed: 9223372036854775808", "seed: expected 0 to 9223372036854775807"),
        ("data: {path: a, train_subjects: -3}", "data.train_subjects: expected at least 1"),
        ("network: {channels: [1, 2]}", "network.channels: expected 3 values"),
        ("network: {channels: 4}", "network.channels: expected a list"),
        ("network: {attention: [colour]}", "network.attention"),
        ("network: {kind: gaitpart}", "network.kind: expected one of ('metagait', 'gaitset')"),
        ("network: {kind: [gaitset]}", "network.kind: expected one of ('metagait', 'gaitset')"),
        ("network: {kind: 5}", "network.kind: expected one of ('metagait', 'gaitset')"),
        ("network: {kind: gaitset, gate: true}", "network.gate: unknown key"),
        ("network: 5", "network: expected keys and values"),
        ("optimiser: {schedule: sine}", "optimiser.schedule"),
        ("optimiser: {meta_rate: 0.0}", "optimiser.meta_rate: expected more than 0"),
        ("optimiser: {learning_rate: -0.1}", "optimiser.learning_rate: expected more than 0"),
        ("optimiser: {learning_rate: .nan}", "optimiser.learning_rate: expected more than 0"),
        ("optimiser: {clip_norm: -1}", "optimiser.clip_norm: expected at least 0"),
        ("optimiser: {steps: [5]}", "some with the schedule step and none without"),
        ("optimiser: {schedule: step}", "some with the schedule step and none without"),
        ("loss: {contrastive: -1}", "loss.contrastive: expected at least 0"),
        ("loss: {temperature: 0}", "loss.temperature: expected more than 0"),
        ("sampler: {samples: 1}", "sampler.samples: expected at least 2"),
        ("sampler: {subjects: 1}", "sampler.subjects: expected at least 2"),
        ("sampler: {frames: 0}", "sampler.frames: expected at least 1"),
        ("sampler: {augment: {mirror: 1.5}}", "sampler.augment.mirror: expected a share"),
        ("sampler: {augment: {speed: 0.5}}", "sampler.augment.speed: expected at least 1"),
        (
            "sampler: {augment: {speed: .inf}}",
            "sampler.augment.speed: expected at least 1 and no inf",
        ),
        (
            "sampler: {augment: {shift: .inf}}",
            "sampler.augment.shift: expected at least 0 and no inf",
        ),
        ("optimiser: {learning_rate: .inf}", "learning_rate: expected more than 0 and no infinity"),
        ("network: {reduction: 0}", "network.reduction: expected at least 1"),
        ("network: {strips: 0}", "network.strips: expected at least 1"),
        ("network: {channels: [4, 0, 4]}", "network.channels: expected at least 1"),
        ("network: {grid: [0, 4]}", "network.grid: expected at least 1"),
        ("network: {kind: gaitset, dimensions: 0}", "network.dimensions: expected at least 1"),
        ("network: {kind: gaitset, size: [-64, 44]}", "network.size: expected at least 1"),
        ("network: {kernels: [3, 3]}", "network.kernels: expected each size once"),
        ("meta_start: -0.1", "meta_start: expected more than 0"),
        ("meta_start: .inf", "meta_start: expected more than 0 and no infinity"),
        (f"average: 1{'0' * 400}", "average: expected float, got a number too large"),
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
    (tmp_path / "deep.yaml").write_text("[" * 5000)
    with pytest.raises(ConfigError, match=r"YAML configuration in .*, got one too deep"):
        load_config(tmp_path / "deep.yaml")
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
