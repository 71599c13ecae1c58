"""Pictures: PNG files with something in them, drawn from what they say."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from model.checkpoint import load_network
from model.config import DataConfig, TrainConfig
from model.errors import ConfigError, DatasetError
from model.gaitset import GaitSet, GaitSetConfig
from model.network import MetaGait, NetworkConfig
from model.plots import command
from model.plots.attention import attention_maps, draw_attention
from model.plots.embeddings import Cloud, draw_tsne
from model.plots.identification import Identified, draw_cmc, draw_det
from model.plots.style import save
from model.plots.training import draw_curves, read_log
from model.protocols import Labels
from model.sampler import SamplerConfig
from model.train import Training
from tests.disks import file_size_limit
from tests.test_open_set import searches
from tests.test_protocols import result_of

TINY = NetworkConfig(channels=(2, 4, 4), dimensions=4)


def picture(path: Path) -> np.ndarray:
    """Read a picture and check that there is one: light, and more than a frame around nothing."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size < 150_000
    pixels = cv2.imread(str(path))
    assert pixels is not None
    assert pixels.shape[1] > 800
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1]].min() == 255
    assert pixels.mean() > 180
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    dark = (pixels < 128).any(axis=2)
    assert 0.003 < dark.mean() < 0.5
    return pixels


def parse(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def identified(name: str, shift: float) -> Identified:
    generator = np.random.default_rng(0)
    ranks = 1 + np.floor(generator.exponential(2 + shift, (40, 3)))
    closed = result_of(ranks.tolist(), [f"{i // 4}" for i in range(40)])
    mated, nonmated = generator.random(60) + shift, generator.random(400) + 0.6
    return Identified(name, {"NM": closed, "BG": closed}, searches(mated, nonmated))


def test_identification_curves(tmp_path: Path) -> None:
    methods = [identified("GEI, nearest neighbour", 0.5), identified("a model", 0.1)]
    cmc = draw_cmc(methods)
    save(cmc, tmp_path / "cmc.png")
    picture(tmp_path / "cmc.png")
    normal, bag = cmc.axes
    assert normal.get_title() == "NM"
    assert bag.get_xlabel() == "rank (gallery samples)"
    assert normal.get_ylabel().endswith("%")
    drawn = np.asarray(normal.get_lines()[1].get_ydata())
    np.testing.assert_allclose(drawn, 100 * methods[1].closed["NM"].cumulative(20))
    det = draw_det(methods)
    save(det, tmp_path / "det.png")
    picture(tmp_path / "det.png")
    assert {line.get_label() for line in det.axes[0].get_lines()} == {m.name for m in methods}


def test_a_cloud_of_embeddings_keeps_people_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    samples = [(f"{s}", c, "090") for s in range(4) for c in ("nm-01", "nm-02", "bg-01", "cl-01")]
    vectors = np.repeat(10 * generator.normal(size=(4, 6)), 4, axis=0)
    cloud = Cloud("a model", (vectors + generator.normal(size=(16, 6))).astype(np.float32),
                  Labels.of(samples))  # fmt: skip
    save(draw_tsne([cloud, cloud]), tmp_path / "tsne.png")
    picture(tmp_path / "tsne.png")
    with pytest.raises(DatasetError, match="8 samples or more"):
        draw_tsne([Cloud("few", vectors[:3].astype(np.float32), Labels.of(samples[:3]))])


def test_maps_are_those_that_the_attention_computes() -> None:
    torch.manual_seed(0)
    network = MetaGait(TINY).eval()
    walk = np.random.default_rng(0).integers(0, 256, (9, 64, 44)).astype(np.uint8)
    maps = attention_maps(network, walk, "a0")
    assert maps.channel is not None
    assert maps.channel.shape == (4,)
    assert maps.temporal is not None
    assert maps.temporal.shape == (3,)
    assert maps.spatial is not None
    assert maps.spatial.shape == (3, 32, 22)
    for one in (maps.channel, maps.temporal, maps.spatial):
        assert 0 < one.min() < one.max() < 1
    assert not network.attend["a0"]._forward_hooks
    with pytest.raises(DatasetError, match=r"stage with attention \(a0, a1, b2\), got 'c9'"):
        attention_maps(network, walk, "c9")
    with pytest.raises(DatasetError, match="3 frames or more, got 2"):
        attention_maps(network, walk[:2], "a0")
    with pytest.raises(DatasetError, match="none in this network"):
        attention_maps(GaitSet(GaitSetConfig()), walk, "a0")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A training's folder, as `metagait train` leaves it: an untrained checkpoint and a log."""
    config = TrainConfig(
        name="tiny", data=DataConfig(path="x"), iterations=1, network=TINY, sampler=SamplerConfig()
    )
    folder = tmp_path / "tiny"
    Training(config, ("001",)).save(folder / "checkpoint.pt", None)
    lines = [
        {"iteration": i, "rate": 1.5, "loss": 4 / i, "triplet": 0.2 / i, "cross_entropy": 3 / i,
         "nonzero": 0.5, "distance": 4.0}
        for i in range(20, 200, 20)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"iteration": 20')
    return folder


def test_command_draws_attention_and_curves(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    # The log is the one beside the checkpoint.
    model = ("--model", run_folder / "checkpoint.pt")
    assert command.run(parse("attention", "curves", *model, "--output", tmp_path)) == 0
    for name in ("attention", "curves"):
        picture(tmp_path / f"{name}.png")
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "curves.png")


def test_attention_leaves_out_what_the_network_has_not(run_folder: Path) -> None:
    walk = np.random.default_rng(0).integers(0, 256, (9, 64, 44)).astype(np.uint8)
    network = MetaGait(NetworkConfig(channels=(2, 4, 4), dimensions=4, attention=("channel",)))
    assert len(draw_attention({"a walk": walk}, network, "a1").axes) == 1
    assert (
        len(draw_attention({"a walk": walk}, load_network(run_folder / "checkpoint.pt"), "a1").axes)
        == 7
    )


def test_curves_read_a_log_and_refuse_another_file(run_folder: Path, tmp_path: Path) -> None:
    log = read_log(run_folder / "log.jsonl")
    assert log["iteration"] == list(range(20, 200, 20))
    figure = draw_curves({"one": log, "two": log})
    assert [axes.get_ylabel() for axes in figure.axes][1] == "cross-entropy, nats"
    np.testing.assert_allclose(figure.axes[2].get_lines()[0].get_ydata(), 50.0)
    contrastive = {**log, "contrastive": [1.0] * len(log["iteration"])}
    labels = [axes.get_ylabel() for axes in draw_curves({"one": log, "two": contrastive}).axes]
    assert labels[2:] == [
        "contrastive loss, nats", "hard triplets, %", "mean distance in a batch", ""
    ]  # fmt: skip
    (tmp_path / "other.txt").write_text("hello\n[1]\n")
    with pytest.raises(DatasetError, match=r"lines of a training .* got none"):
        read_log(tmp_path / "other.txt")
    with pytest.raises(DatasetError, match="log of a training"):
        read_log(tmp_path / "nothing")


def test_trainings_in_folders_of_one_name_have_a_curve_each(tmp_path: Path) -> None:
    # As `metagait ablate` lays them out.
    logs = [tmp_path / row / "seed-1" / "log.jsonl" for row in ("gaitgl", "metagait")]
    assert command.run_names([*logs, logs[0]]) == {
        "gaitgl/seed-1": logs[0],
        "metagait/seed-1": logs[1],
    }
    assert command.run_names(logs[:1]) == {"seed-1": logs[0]}


def test_a_picture_that_a_full_disk_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    figure = draw_cmc([identified("a model", 0.1)])
    with file_size_limit(1000), pytest.raises(DatasetError, match="expected to write"):
        save(figure, tmp_path / "cmc.png")
    assert not list(tmp_path.iterdir())


def test_command_refuses_what_it_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--log"):
        command.run(parse("curves"))
    with pytest.raises(ConfigError, match="ONNX file does not show its maps"):
        command.run(parse("attention"))
    with pytest.raises(SystemExit):
        parse("painting")
    with pytest.raises(DatasetError, match=r"\.png, got cmc.jpg"):
        save(draw_cmc([identified("a model", 0.1)]), tmp_path / "cmc.jpg")
