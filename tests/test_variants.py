"""Variants of a model file: int8 convolutions, a compact head, and what they may lose."""

import json
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from metagait import main
from model import variants
from model.caches import walkers_dataset
from model.casia_a import EVERY, VIEWS, walk_files
from model.casia_a import walks as casia_a_walks
from model.compact import append
from model.config import WalkersConfig
from model.encoder import OnnxEncoder
from model.errors import DatasetError, ExportError
from model.export import export_onnx, write_model
from model.facts import Comparison, ModelFacts, Threshold
from model.gaitset import GaitSet, GaitSetConfig
from model.graph import Form
from model.network import MetaGait, NetworkConfig
from model.projection import Projection, principal_components
from model.quantise import calibration_walks, quantise
from model.variants import Terms, Trial, check_loss, table, write_variant
from model.walkers import WalkerSettings, packed_walk, render_walk
from tests.datasets import body, png

CONFIG = NetworkConfig(channels=(16, 16, 32), dimensions=3, attention=(), pooling=("max",),
                       pooling_weights="none")  # fmt: skip
PEOPLE = WalkersConfig(
    first=9001,
    subjects=3,
    conditions=("nm-01", "nm-05"),
    views=(0, 90),
    settings=WalkerSettings(frames=6),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("variants") / "source.onnx"
    torch.manual_seed(1)
    export_onnx(MetaGait(CONFIG), path, name="source")
    return path


@pytest.fixture(scope="module")
def terms(tmp_path_factory: pytest.TempPathFactory) -> Terms:
    folder = tmp_path_factory.mktemp("walkers")
    return Terms(Trial(walkers_dataset(PEOPLE, folder, "people")), anyway=True)


@pytest.fixture(scope="module")
def integers(source: Path) -> onnx.ModelProto:
    return quantise(onnx.load(source), calibration_walks(range(1, 4)), "shifted")


def projection(length: int, dimensions: int) -> Projection:
    rows, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(length, dimensions)))
    return Projection(rows.T.astype(np.float32), np.full(length, 0.1, np.float32))


def test_the_large_convolutions_and_no_others_become_integers(
    source: Path, integers: onnx.ModelProto
) -> None:
    types = {tensor.name: tensor.data_type for tensor in integers.graph.initializer}
    given = {node.output[0]: node for node in integers.graph.node}
    convolutions = [node for node in integers.graph.node if node.op_type == "Conv"]
    weights = [given[n.input[1]].input[0] for n in convolutions if n.input[1] in given]
    assert [types[name] for name in weights] == [onnx.TensorProto.INT8] * 6
    assert len(convolutions) == 8


@pytest.mark.parametrize("form", ["plain", "shifted"])
@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(channels=(64, 2, 4), dimensions=2, attention=()),
        NetworkConfig(channels=(2, 2, 4), dimensions=2, kernels=(9,), attention_stages=("a0",)),
    ],
    ids=["wide stem", "large attention kernel"],
)
def test_however_large_others_are_only_the_blocks_become_integers(
    config: NetworkConfig, form: Form, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(MetaGait(config), path, name="model", form=form)
    integers = quantise(onnx.load(path), calibration_walks(range(1, 2)), form)
    made = {node.input[0] for node in integers.graph.node if node.op_type == "DequantizeLinear"}
    sizes = {t.name: list(t.dims) for t in integers.graph.initializer if t.name in made}
    quantised = [size for size in sizes.values() if len(size) > 1]
    kernel = [3, 3] if form == "shifted" else [3, 3, 3]
    assert len(quantised) == 6
    assert all(size[2:] == kernel for size in quantised)


def test_the_blocks_of_gaitset_are_not_quantised(tmp_path: Path) -> None:
    network = GaitSet(GaitSetConfig(channels=(2, 16, 32), dimensions=2))
    export_onnx(network, tmp_path / "gaitset.onnx", name="gaitset")
    with pytest.raises(ExportError, match="without any"):
        quantise(onnx.load(tmp_path / "gaitset.onnx"), calibration_walks(range(1, 2)), "shifted")


def test_the_embeddings_of_integers_are_near(
    source: Path, integers: onnx.ModelProto, terms: Terms, tmp_path: Path
) -> None:
    before = OnnxEncoder.open(source, threads=1)
    facts = replace(before.facts, name="source-int8", precision="int8")
    path = tmp_path / "int8.onnx"
    written = write_variant(integers, facts, path, source=before, terms=terms)
    after = OnnxEncoder.open(path, threads=1)
    assert after.facts == written
    assert after.facts.model_id.startswith("source-int8-")
    assert after.facts.comparison is not None
    assert after.facts.comparison.source == before.facts.model_id
    assert after.facts.comparison.subjects == 3
    walk = packed_walk(501, "nm-01", 90)
    expected, got = before.encode([walk]), after.encode([walk])
    assert 0 < np.linalg.norm(got - expected) < 0.1 * np.linalg.norm(expected)


def test_the_walks_that_set_the_scales_have_the_size_of_the_model() -> None:
    (walk,) = calibration_walks(range(1, 2), (128, 88))
    assert walk.shape[1:] == (128, 88)


def test_the_quantiser_takes_the_model_for_prepared(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quantise(onnx.load(source), calibration_walks(range(1, 2)), "shifted")
    assert "pre-processing" not in caplog.text


def test_a_model_without_the_blocks_is_not_quantised(integers: onnx.ModelProto) -> None:
    with pytest.raises(ExportError, match="without any"):
        quantise(integers, calibration_walks(range(1, 2)), "plain")


@pytest.mark.parametrize("unit", [False, True])
def test_a_compact_model_gives_the_projected_embedding(
    source: Path, terms: Terms, tmp_path: Path, unit: bool
) -> None:
    before = OnnxEncoder.open(source, threads=1)
    project = replace(projection(64 * 3, 20), unit=unit)
    facts = replace(before.facts, parts=1, dimensions=20)
    path = tmp_path / "compact.onnx"
    model = append(onnx.load(source), project)
    onnx.checker.check_model(model, full_check=True)
    write_variant(model, facts, path, source=before, terms=terms, kept_energy=0.5)
    after = OnnxEncoder.open(path, threads=1)
    assert after.facts.embedding_length == 20
    assert after.facts.threshold is None
    walks = [packed_walk(subject, "nm-01", 90)[:9] for subject in (501, 502)]
    full = before.encode(walks)
    np.testing.assert_allclose(after.encode(walks), project(full), atol=1e-5)
    assert after.facts.comparison is not None
    assert after.facts.comparison.kept_energy == 0.5


def test_a_compact_model_can_be_made_more_compact(source: Path, tmp_path: Path) -> None:
    before = OnnxEncoder.open(source, threads=1)
    first, second = replace(projection(64 * 3, 20), unit=True), projection(20, 7)
    model = append(append(onnx.load(source), first), second)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "twice.onnx"
    write_model(model, replace(before.facts, parts=1, dimensions=7), path, lambda _: None)
    walk = packed_walk(501, "nm-01", 90)[:9]
    expected = second(first(before.encode([walk])))
    got = OnnxEncoder.open(path, threads=1).encode([walk])
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("count", "length"), [(40, 90), (90, 40)])
def test_principal_components_are_those_of_the_singular_values(count: int, length: int) -> None:
    made = np.random.default_rng(1).normal(size=(count, length)).astype(np.float32)
    made *= 0.8 ** np.arange(length)
    found = principal_components(made, 5)
    np.testing.assert_allclose(found.rows @ found.rows.T, np.eye(5), atol=1e-5)
    values = np.linalg.svd(made - made.mean(axis=0), compute_uv=False) ** 2
    assert found.kept_energy(made) == pytest.approx(values[:5].sum() / values.sum(), abs=1e-5)
    # Distances are those of the full embeddings within the subspace, never larger.
    full = np.linalg.norm(made[:, None] - made[None], axis=2)
    kept = np.linalg.norm(found(made)[:, None] - found(made)[None], axis=2)
    assert (kept <= full + 1e-5).all()


@pytest.mark.parametrize("dimensions", [0, 10, 6])
def test_more_dimensions_than_there_are_is_refused(dimensions: int) -> None:
    flat = np.random.default_rng(2).normal(size=(10, 4)) @ np.ones((4, 30))
    with pytest.raises(ExportError, match="expected"):
        principal_components(flat.astype(np.float32), dimensions)


def test_a_variant_that_loses_too_much_is_not_written(
    source: Path, terms: Terms, tmp_path: Path
) -> None:
    lost = Comparison("a", {"NM": 90.0, "CL": 70.0}, {"NM": 90.5, "CL": 69.7}, 50)
    with pytest.raises(ExportError, match=r"lost 0\.30 on CL"):
        check_loss(lost)
    check_loss(replace(lost, after={"NM": 89.9, "CL": 69.9}))
    with pytest.raises(ExportError, match="lost nan on NM"):
        check_loss(replace(lost, after={"NM": float("nan"), "CL": 70.0}))
    assert "| CL | 70.00 | 69.70 | -0.30 |" in table(lost)

    before = OnnxEncoder.open(source, threads=1)
    nothing = Projection(np.zeros((2, 192), np.float32), np.zeros(192, np.float32))
    facts = replace(before.facts, parts=1, dimensions=2)
    path = tmp_path / "nothing.onnx"
    model = append(onnx.load(source), nothing)
    with pytest.raises(ExportError, match="expected to lose"):
        write_variant(model, facts, path, source=before, terms=replace(terms, anyway=False))
    assert list(tmp_path.iterdir()) == []


def test_the_comparison_survives_its_json() -> None:
    compared = Comparison("a-1", {"NM": 90.0}, {"NM": 89.9}, 50, 0.97)
    facts = ModelFacts("x-" + "0" * 12, "x", (64, 44), 1, 512, "p", 9, None, "int8", compared)
    assert ModelFacts.from_json(facts.to_json(), "0" * 64) == facts


def test_facts_of_before_there_was_a_band_are_read() -> None:
    threshold = Threshold(0.6, 0.01, 0.5, 119, 600, "walkers", inconclusive_to=0.7)
    facts = ModelFacts("x-" + "0" * 12, "x", (64, 44), 1, 512, "p", 9, threshold)
    assert ModelFacts.from_json(facts.to_json(), "0" * 64) == facts
    before = json.loads(facts.to_json())
    del before["threshold"]["inconclusive_to"]
    read = ModelFacts.from_json(json.dumps(before), "0" * 64).threshold
    assert read == replace(threshold, inconclusive_to=None)


def test_a_file_is_halved_by_the_command_and_says_what_it_was_measured_with(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(variants, "BENCHMARK", PEOPLE)
    monkeypatch.setattr(variants, "RUNS", tmp_path / "runs")
    path = tmp_path / "halved.onnx"
    assert main(["halve", str(source), str(path), "--anyway"]) == 0
    printed = capsys.readouterr().out
    before, after = (OnnxEncoder.open(each, threads=1) for each in (source, path))
    assert after.facts.precision == "float16"
    assert after.facts.model_id.startswith("source-float16-")
    assert after.facts.model_id in printed
    assert ("rounded parameters and float32 features" in printed) == before.runtime.on_cpu
    assert after.facts.comparison is not None
    assert after.facts.comparison.source == before.facts.model_id
    assert set(after.facts.comparison.after) == {"NM"}
    walk = packed_walk(501, "nm-01", 90)
    expected, got = before.encode([walk]), after.encode([walk])
    assert 0 < np.linalg.norm(got - expected) < 0.01 * np.linalg.norm(expected)


def test_real_people_are_measured_where_their_folder_is_given(
    source: Path, terms: Terms, tmp_path: Path
) -> None:
    for subject in (1, 2):
        for view, angle in {"00": 90, "45": 45, "90": 0}.items():
            for number in (1, 2, 3, 4):
                path = tmp_path / str(subject) / f"{view}_{number}.zip"
                path.parent.mkdir(exist_ok=True)
                masks = render_walk(subject, f"nm-0{number}", angle, WalkerSettings(frames=3))
                with zipfile.ZipFile(path, "w") as file:
                    for place, mask in enumerate(masks):
                        file.writestr(f"{place}.png", cv2.imencode(".png", mask)[1].tobytes())
    trial = replace(terms.trial, casia_a=tmp_path)
    found = trial.rank_one(OnnxEncoder.open(source, threads=1))
    assert set(found) == {"NM", "CASIA-A, same view", "CASIA-A, two views"}
    assert all(0 <= value <= 100 for value in found.values())


def test_a_folder_without_casia_a_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="CASIA-A"):
        list(casia_a_walks(tmp_path))
    (tmp_path / "1").mkdir()
    paths = [tmp_path / "1" / f"{view}_{number}.zip" for view, number in product(VIEWS, EVERY)]
    for path in paths:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("silhouettes/", b"")
            file.writestr("silhouettes/0.png", png(body()))
    assert len(list(casia_a_walks(tmp_path))) == 12
    paths[0].write_bytes(b"no zip")
    with pytest.raises(DatasetError, match=r"zip of PNG pictures in .*00_1\.zip"):
        list(casia_a_walks(tmp_path))
    for picture, said in ((b"nothing", "PNG"), (png(0 * body()), r"00_1\.zip: .* body")):
        with zipfile.ZipFile(paths[0], "w") as file:
            file.writestr("0.png", picture)
        with pytest.raises(DatasetError, match=said):
            list(casia_a_walks(tmp_path))
    paths[0].unlink()
    with pytest.raises(DatasetError, match=r"got none named 00_1$"):
        walk_files(tmp_path)
    (tmp_path / "1" / "00_1_again.zip").touch()
    with pytest.raises(DatasetError, match="expected the name"):
        walk_files(tmp_path)
