"""Checkpoints: whole or in pieces, refused when they are none, ready to embed or to begin from."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from model.checkpoint import (
    FORMAT,
    has_checkpoint,
    load_checkpoint,
    load_network,
    save_checkpoint,
)
from model.config import load_config
from model.dataset import Dataset
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.errors import ConfigError, ModelFileError
from model.network import MetaGait, NetworkConfig
from model.networks import build_network
from model.sampler import Sampler
from model.start import start_from
from model.train import Conduct, train
from model.training import Training
from tests.tiny import TINY, noise_dataset

CONFIGS = Path(__file__).parent.parent / "model" / "configs"


@pytest.fixture
def dataset() -> Dataset:
    return noise_dataset()


def test_network_of_a_checkpoint_is_ready_to_embed(dataset: Dataset, tmp_path: Path) -> None:
    train(replace(TINY, iterations=2), dataset, tmp_path)
    network = load_network(tmp_path / "checkpoint.pt")
    assert not network.training
    walk = torch.from_numpy(dataset.samples[0].silhouettes())[None]
    with torch.inference_mode():
        embedding = network(walk, torch.tensor([5]))
    assert embedding.shape == (1, 64, 4)
    assert torch.isfinite(embedding).all()


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="checkpoint"):
        load_checkpoint(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ModelFileError, match="checkpoint"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"format": "other"}, tmp_path / "other.pt")
    with pytest.raises(ModelFileError, match="format"):
        load_checkpoint(tmp_path / "other.pt")


class Hostile:
    """What runs a program where a pickle of it is loaded without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 0",)


def test_a_checkpoint_with_other_entries_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Training(TINY, dataset.subjects).save(path, None)
    whole = torch.load(path, weights_only=True)
    load_checkpoint(path)
    needed = ("config", "iteration", "subjects", "network", "average", "classifier", "optimiser")
    wrong = [{key: value for key, value in whole.items() if key != without} for without in needed]
    wrong += [{**whole, key: None} for key in (*needed, "random_state", "commit")]
    wrong += [{**whole, "average": [1]}, {**whole, "network": {"stem.weight": 1}}]
    wrong += [{**whole, "subjects": [1, 2]}, {**whole, "iteration": "6"}, {**whole, "later": 1}]
    for content in wrong:
        torch.save(content, path)
        with pytest.raises((ModelFileError, ConfigError)):
            load_network(path)


def test_a_checkpoint_that_would_run_a_program_is_refused(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, "network": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(ModelFileError, match="system") as refused:
        load_checkpoint(tmp_path / "hostile.pt")
    # torch advises to load such a file without care.
    assert "weights_only" not in str(refused.value)


def test_a_checkpoint_of_another_preprocessing_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    train(replace(TINY, iterations=1), dataset, tmp_path)
    save_checkpoint(replace(load_checkpoint(path), preprocessing_id="another-1"), path)
    with pytest.raises(ModelFileError, match=r"expected .* 'metagait-align-2', got .* 'another-1'"):
        load_network(path)
    with pytest.raises(ModelFileError, match="'another-1'"):
        train(TINY, dataset, tmp_path, Conduct(resume=True))
    # Weights to begin with may come from anywhere.
    start_from(path, build_network(TINY.network))


@pytest.mark.parametrize("pieces", [False, True])
def test_a_full_disk_leaves_the_checkpoint_before_it_and_nothing_else(
    pieces: bool, dataset: Dataset, tmp_path: Path
) -> None:
    training = Training(TINY, dataset.subjects)
    training.save(tmp_path / "checkpoint.pt", None, pieces=pieces)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    training.step(Sampler(dataset, TINY.sampler, 1).batch(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            training.save(tmp_path / "checkpoint.pt", None, pieces=pieces)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


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


def exported_without(lacking: str, path: Path) -> Path:
    """A file with the weights of the tiny network but one, by the names that an export gives."""
    weights = build_network(TINY.network).state_dict()
    named = [numpy_helper.from_array(w.numpy(), k) for k, w in weights.items() if k != lacking]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], named)), path)
    return path


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ("pool_width.exponent", r"exponent\. An exported file .* begin with"),
        ("attend.a0.weights.meta_2.weight", "attend"),
    ],
)
def test_what_an_export_before_any_training_lacks_is_explained(
    tmp_path: Path, lacking: str, why: str
) -> None:
    network = build_network(TINY.network)
    with pytest.raises(ModelFileError, match=f"none of the right shape for .*{why}") as told:
        start_from(exported_without(lacking, tmp_path / "new.onnx"), network)
    assert ("An exported file" in str(told.value)) == (lacking == "pool_width.exponent")


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
    # The file ends in a layer of its own, which is not the network's.
    layer = {i.name: numpy_helper.to_array(i) for i in onnx.load(SHIPPED_MODEL).graph.initializer}
    projected = layer["compact.rows"] @ ours.flatten().numpy() + layer["compact.bias"]
    np.testing.assert_allclose(projected / np.linalg.norm(projected), expected, atol=1e-4)
