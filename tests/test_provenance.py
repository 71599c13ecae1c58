"""Whom a model was trained on: written into its file, shown, and held against who tests it."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model.compact import append
from model.config import DataConfig, TrainConfig, WalkersConfig
from model.embed import Embedder, open_embedder
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.errors import DatasetError
from model.export import configure, export_onnx, run, write_model
from model.facts import ModelFacts, TrainedOn
from model.gaitset import GaitSet, GaitSetConfig
from model.projection import Projection
from model.provenance import check_benchmark, doubts
from model.training import Training
from service.app import create_app
from service.settings import Settings
from tests.caller import calling
from tests.fakes import FakeEncoder
from tests.fakes import facts as fake_facts

SMALL = GaitSetConfig(channels=(3, 4, 5), dimensions=6)
GROUPS = (WalkersConfig(first=1, subjects=20), WalkersConfig(first=301, subjects=5))
WALKERS = TrainedOn(25, walkers=((1, 20), (301, 305)), start="before.onnx")
FOLDER = TrainedOn(74, layout="casia-b", partition="lt")


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    configure(parser)
    return run(parser.parse_args([str(word) for word in words]))


def exported(data: DataConfig, subjects: int, folder: Path, **settings: str) -> Path:
    config = TrainConfig(name="small", data=data, iterations=1, network=SMALL, **settings)
    ids = tuple(f"person-{number}" for number in range(subjects))
    Training(config, ids).save(folder / "checkpoint.pt", None)
    assert command(folder / "checkpoint.pt", folder / "model.onnx") == 0
    return folder / "model.onnx"


def test_an_export_tells_the_walkers_and_its_variants_go_on_telling(tmp_path: Path) -> None:
    path = exported(DataConfig(walkers=GROUPS), 25, tmp_path, start="runs/x/before.onnx")
    assert OnnxEncoder.open(path).facts.training == WALKERS
    assert open_embedder(path).training == WALKERS
    assert command(path, tmp_path / "plain.onnx", "--form", "plain") == 0
    plain = OnnxEncoder.open(tmp_path / "plain.onnx").facts
    assert plain.training == WALKERS
    rows = np.eye(plain.embedding_length, dtype=np.float32)[:4]
    compact = append(onnx.load(path), Projection(rows, np.zeros(rows.shape[1], np.float32)))
    facts = replace(plain, parts=1, dimensions=4)  # as `metagait compact` makes them
    write_model(compact, facts, tmp_path / "compact.onnx", lambda _: None)
    assert OnnxEncoder.open(tmp_path / "compact.onnx").facts.training == WALKERS


def test_an_export_tells_of_a_folder_how_many_and_never_who(tmp_path: Path) -> None:
    data = DataConfig(path="/home/somebody/hospital", layout="casia-b", partition="lt")
    path = exported(data, 74, tmp_path)
    assert OnnxEncoder.open(path).facts.training == FOLDER
    content = path.read_bytes()
    assert not any(word in content for word in (b"person-", b"hospital", b"somebody"))


def test_files_of_before_tell_nothing() -> None:
    assert OnnxEncoder.open(SHIPPED_MODEL, threads=1).facts.training is None
    before = json.loads(fake_facts(training=WALKERS).to_json())
    del before["training"]
    assert ModelFacts.from_json(json.dumps(before), "0" * 64).training is None
    now = fake_facts(training=WALKERS).to_json()
    assert ModelFacts.from_json(now, "0" * 64).training == WALKERS


def embedder(training: TrainedOn | None, *ids: str) -> Embedder:
    return Embedder(
        "m",
        1,
        lambda walks: np.zeros((len(walks), 1), np.float32),
        trained_on=ids,
        training=training,
    )


@pytest.mark.parametrize("span", [(8990, 9001), (9050, 9100), (9010, 9011), (1, 10_000)])
def test_a_model_that_was_trained_on_benchmark_walkers_is_not_judged_by_them(
    span: tuple[int, int],
) -> None:
    with pytest.raises(DatasetError, match=f"9001 to 9050 .* trained on {span[0]} to {span[1]}"):
        check_benchmark(embedder(TrainedOn(10, walkers=((1, 20), span))))


def test_others_are(tmp_path: Path) -> None:
    for training in (None, WALKERS, FOLDER, TrainedOn(9, walkers=((8992, 9000), (9051, 9059)))):
        check_benchmark(embedder(training))


def test_who_may_have_trained_is_said_of_a_folder() -> None:
    people = ("001", "002", "003")
    assert doubts(embedder(None), people, None) == []
    assert doubts(embedder(WALKERS), people, None) == []
    assert doubts(embedder(FOLDER), people, "lt") == [], "the other half"
    for partition in (None, "mt"):
        (line,) = doubts(embedder(FOLDER), people, partition)
        assert "m was trained on 74 subjects of a casia-b folder, the partition lt;" in line
    (line,) = doubts(embedder(None, "003", "004"), people, None)
    assert line.startswith("1 of the 3 subjects have the id of one that trained m")
    assert doubts(embedder(None, "004"), people, None) == []


def test_info_shows_it(settings: Settings) -> None:
    for training, shown in (
        (None, None),
        (
            FOLDER,
            {"subjects": 74, "walkers": [], "layout": "casia-b", "partition": "lt", "start": None},
        ),
    ):
        encoder = FakeEncoder(training=training)
        with calling(create_app(settings, encoder=encoder)) as caller:
            assert caller.get("/info").json()["model"]["training"] == shown


def test_the_network_that_is_exported_without_a_checkpoint_tells_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    facts = export_onnx(GaitSet(SMALL), tmp_path / "model.onnx", name="bare")
    assert facts.training is None
