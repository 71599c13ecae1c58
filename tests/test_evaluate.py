"""Evaluation of whole datasets: embedding, tables, the baseline, the command, calibration."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.caches import BENCHMARK, walkers_cache
from model.config import DataConfig, TrainConfig
from model.dataset import Dataset, PackedWriter, Sample, layout_of, pack
from model.distances import flat_distances, part_distances
from model.embed import Embedder, embed, encode_with, gei_embedder, open_embedder, open_embedders
from model.errors import DatasetError, ModelFileError
from model.evaluate import chosen_dataset
from model.evaluate import configure as configure_evaluate
from model.evaluate import run as run_evaluate
from model.evaluation import evaluate
from model.gei import gait_energy_image
from model.network import MetaGait, NetworkConfig
from model.protocols import CASIA_B, OUMVLP
from model.sampler import SamplerConfig
from model.summary import summaries, summary_cells
from model.tables import markdown_table, text_table
from model.train import Training
from tests.datasets import body, write_cache, write_sample

TINY = NetworkConfig(channels=(2, 4, 4), dimensions=4)


class Still:
    """A source of one picture, repeated."""

    def __init__(self, picture: np.ndarray, length: int = 2) -> None:
        self._walk = np.repeat(picture[None], length, axis=0)

    def read(self) -> np.ndarray:
        return self._walk


class Unreadable:
    """A source that cannot be read."""

    def read(self) -> np.ndarray:
        raise DatasetError("001/nm-01/000: none of the 3 PNG files can be read")


def bar(row: int) -> np.ndarray:
    picture = np.zeros((64, 44), np.uint8)
    picture[row, 10:20] = 255
    return picture


def grid(subjects: int, views: Sequence[str], conditions: Sequence[str]) -> Dataset:
    """Every subject is a bar in a row of its own, the same in every sample."""
    return Dataset(
        tuple(
            Sample(f"{s:03}", condition, view, 2, Still(bar(s)))
            for s in range(subjects)
            for condition in conditions
            for view in views
        )
    )


def mean_walks(walks: Sequence[np.ndarray]) -> np.ndarray:
    """An embedding that can be worked out by hand: the mean of each row, two parts of 32."""
    return np.stack([walk.mean(axis=(0, 2)) for walk in walks]).astype(np.float32)


BY_ROWS = Embedder("rows", 2, mean_walks)
ALL = CASIA_B.conditions
GALLERY = CASIA_B.gallery


def test_distances_equal_loops() -> None:
    generator = np.random.default_rng(2)
    probes, gallery = (generator.normal(size=(n, 12)).astype(np.float32) for n in (3, 4))
    flat, parts = flat_distances(probes, gallery), part_distances(probes, gallery, 3)
    for p in range(3):
        for g in range(4):
            difference = probes[p] - gallery[g]
            assert flat[p, g] == pytest.approx(np.linalg.norm(difference), rel=1e-5)
            expected = np.mean([np.linalg.norm(part) for part in difference.reshape(3, 4)])
            assert parts[p, g] == pytest.approx(expected, rel=1e-5)
    far = probes + np.float32(1000)
    np.testing.assert_allclose(np.diagonal(flat_distances(far, far)), 0, atol=1e-4)


def test_evaluation_of_perfect_embeddings_and_of_the_baseline() -> None:
    dataset = grid(4, ("000", "054", "090"), ALL)
    for embedder in (BY_ROWS, gei_embedder()):
        evaluation = evaluate(dataset, embedder)
        assert [row.result.mean for row in evaluation.rows] == [1.0] * 6
        assert {row.kind for row in evaluation.rows} == {"NM", "BG", "CL"}
    assert evaluation.notes[0] == "4 subjects, 120 samples, 3 views."


def test_missing_unreadable_and_foreign_samples_are_stated() -> None:
    dataset = grid(3, ("000", "090"), ALL)
    broken = Sample("001", "nm-01", "000", 2, Unreadable())
    foreign = Sample("001", "run-01", "000", 2, Still(bar(1)))
    kept = [s for s in dataset.samples if s.name != "001/nm-01/000"]
    notes = "\n".join(evaluate(Dataset((*kept, broken, foreign)), BY_ROWS).notes)
    assert "1 unreadable" in notes
    assert "001/nm-01/000" in notes
    assert "1 samples in conditions outside" in notes
    without = Dataset(tuple(s for s in kept if s.subject != "001" or s.view != "000"))
    assert "NM: " in "\n".join(evaluate(without, BY_ROWS).notes)


def test_a_model_of_another_size_is_refused() -> None:
    with pytest.raises(DatasetError, match="128"):
        evaluate(grid(2, ("000",), ALL), replace(BY_ROWS, size=(128, 88)))


def test_tables_show_views_means_intervals_and_gaps() -> None:
    dataset = grid(3, ("000", "090"), (*GALLERY, "nm-05", "cl-01"))
    some = Dataset(tuple(s for s in dataset.samples if (s.condition, s.view) != ("cl-01", "090")))
    evaluation = evaluate(some, BY_ROWS)
    text = text_table(evaluation.rows).splitlines()
    head = "probe method 0° 90° mean 95 % interval rank-5 rank-10 mAP mINP same view"
    assert text[0].split() == head.split()
    assert text[1].split()[:4] == ["NM", "rows,", "flattened", "L2"]
    assert text[1].split()[4:] == [*["100.0"] * 4, "to", *["100.0"] * 6]
    assert text[2].split()[4:7] == ["100.0", "–", "100.0"]
    markdown = markdown_table(evaluation.rows).splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    plain = json.loads(json.dumps(evaluation.values()))
    assert plain["rows"][0]["figures"]["rank-1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert plain["rows"][1]["matrices"]["mAP"] == [[1.0, 1.0], [None, None]]
    assert plain["rows"][1]["per_probe_view"]["mINP"] == [1.0, None]


def test_probes_without_a_gallery_sample_are_stated_both_ways() -> None:
    dataset = grid(3, ("000", "015"), ("00", "01"))
    some = Dataset(tuple(s for s in dataset.samples if s.name != "001/01/015"))
    evaluation = evaluate(some, BY_ROWS, OUMVLP)
    flat = [row for row in evaluation.rows if row.measure == "flattened L2"]
    assert [row.label for row in flat] == ["rows, flattened L2", "rows, flattened L2, unmated fail"]
    lines = [line.split() for line in text_table(flat).splitlines()]
    assert lines[1][4:7] == ["100.0", "100.0", "100.0"]
    assert lines[2][6:9] == ["66.7", "100.0", "83.3"]
    assert "2 searches have no sample" in "".join(evaluation.notes)


def test_all_kinds_of_probe_stand_in_one_line_a_method() -> None:
    dataset = grid(3, ("000", "090"), ALL)
    # One of the six coats is worn by somebody with another one's outline, at one of two views.
    stranger = Sample("001", "cl-01", "090", 2, Still(bar(0)))
    kept = [s for s in dataset.samples if s.name != stranger.name]
    rows = evaluate(Dataset((*kept, stranger)), BY_ROWS).rows
    flat = [row for row in rows if row.measure == "flattened L2"]
    head, line = summary_cells(flat)
    assert head == [
        "all probes", "NM rank-1", "BG rank-1", "CL rank-1", "mean", "95 % interval", "mAP", "mINP"
    ]  # fmt: skip
    coats = {row.kind: row.result for row in flat}["CL"]
    assert coats.figure("rank-1") == pytest.approx(11 / 12)
    assert line[:5] == ["rows, flattened L2", "100.0", "100.0", "91.7", "97.2"]
    assert line[6] == f"{100 * (2 + coats.figure('mAP')) / 3:.1f}"
    assert line[7] == f"{100 * (2 + coats.figure('mINP')) / 3:.1f}"
    # NM and BG are the same in every draw, so the mean moves by a third of what CL moves by.
    (summary,) = summaries(flat)
    third, whole = summary.mean("rank-1"), coats.interval("rank-1")
    assert third.low == pytest.approx((2 + whole.low) / 3)
    assert third.high == pytest.approx((2 + whole.high) / 3)
    assert evaluate(dataset, BY_ROWS).values()["all_probes"][0]["mINP"]["value"] == 1.0


def test_kinds_of_other_people_have_a_mean_and_no_interval() -> None:
    dataset = grid(3, ("000", "090"), ALL)
    some = [s for s in dataset.samples if s.subject != "001" or not s.condition.startswith("cl")]
    (summary, _) = summaries(evaluate(Dataset(tuple(some)), BY_ROWS).rows)
    assert summary.mean("rank-1").value == 1.0
    assert math.isnan(summary.mean("rank-1").low)


def test_a_single_view_has_figures_in_its_own_column_alone() -> None:
    alone = evaluate(grid(3, ("000",), ALL), BY_ROWS)
    assert "No search is between different views" in " ".join(alone.notes)
    assert not alone.minus(alone).differences
    assert {row.result.identical_view for row in alone.rows} == {1.0}
    several = evaluate(grid(3, ("000", "090"), ALL), BY_ROWS)
    assert "No search" not in " ".join(several.notes)
    assert len(several.minus(several).differences) == 6


def test_a_single_kind_of_probe_is_not_said_twice() -> None:
    assert (
        summary_cells(evaluate(grid(3, ("000", "015"), ("00", "01")), BY_ROWS, OUMVLP).rows) == []
    )


def test_two_models_are_compared_search_by_search() -> None:
    dataset = grid(4, ("000", "090"), ALL)
    alike = replace(BY_ROWS, name="one point", encode=lambda walks: 0 * mean_walks(walks))
    better = evaluate(dataset, BY_ROWS).minus(evaluate(dataset, alike))
    sentences = [str(difference) for difference in better.differences]
    assert sentences[0] == (
        "NM, flattened L2: rows minus one point, rank-1 100.0 [100.0, 100.0] "
        "(same probes, resampled together)."
    )
    assert len(sentences) == 6
    assert better.values()["differences"][0]["rank-1"]["value"] == 1.0


def test_the_benchmark_has_the_size_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    large = (128, 88)
    with PackedWriter(walkers_cache(BENCHMARK, Path("runs"), "benchmark", large), large) as writer:
        writer.add(("9001", "nm-01", "000"), np.zeros((2, *large), np.uint8))
        writer.finish()
    dataset, _ = chosen_dataset(parse(Path("any.onnx")), [replace(BY_ROWS, size=large)])
    assert (dataset.size, len(dataset.samples)) == (large, 1)


def test_gait_energy_image_is_the_mean_silhouette() -> None:
    walk = np.random.default_rng(0).integers(0, 256, (7, 64, 44)).astype(np.uint8)
    expected = [walk[:, h, w].astype(float).mean() / 255 for h in range(64) for w in range(44)]
    np.testing.assert_allclose(gait_energy_image(walk), expected, rtol=1e-5)


def test_a_model_gone_astray_is_refused_and_not_ranked() -> None:
    dataset = grid(3, ("000", "090"), ("nm-01", "nm-05"))

    def astray(walks: Sequence[np.ndarray]) -> np.ndarray:
        return np.full((len(walks), 4), np.nan, np.float32)

    with pytest.raises(ModelFileError, match="expected embeddings of finite numbers"):
        evaluate(dataset, Embedder("astray", 1, astray))


def test_samples_are_embedded_each_once_whatever_their_length() -> None:
    samples = tuple(
        Sample(f"{n:03}", "nm-01", "000", length, Still(bar(n), length))
        for n, length in enumerate([300, 3, 100, 250, 7, 1, 90])
    )
    seen: list[int] = []

    def encode(walks: Sequence[np.ndarray]) -> np.ndarray:
        seen.append(len(walks) * max(len(walk) for walk in walks))
        return mean_walks(walks)

    alone = embed(Dataset(samples), encode, batch_frames=32)
    assert seen == [3 * 7, 90, 100, 250, 300], "1, 3 and 7 frames go together"
    seen.clear()
    embedded = embed(Dataset(samples), encode)
    assert len(seen) < 5
    assert max(seen) <= 480
    np.testing.assert_array_equal(alone.embeddings, embedded.embeddings)
    assert {s.subject for s in embedded.samples} == {s.subject for s in samples}
    for sample, embedding in zip(embedded.samples, embedded.embeddings, strict=True):
        assert int(embedding.argmax()) == int(sample.subject)


def test_embeddings_beyond_the_memory_limit_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = grid(3, ("000",), ("nm-01", "nm-05"))
    inside = embed(dataset, mean_walks)
    monkeypatch.setattr("model.embed.MEMORY_BYTES", 100)
    outside = embed(dataset, mean_walks)
    assert isinstance(outside.embeddings, np.memmap)
    np.testing.assert_array_equal(inside.embeddings, outside.embeddings)
    assert inside.samples == outside.samples


def test_torch_embeddings_of_a_ragged_batch_equal_single_ones() -> None:
    torch.manual_seed(3)
    encode = encode_with(MetaGait(TINY))
    generator = np.random.default_rng(1)
    walks = [generator.integers(0, 256, (t, 64, 44)).astype(np.uint8) for t in (4, 11, 2)]
    together = encode(walks)
    for walk, embedding in zip(walks, together, strict=True):
        np.testing.assert_allclose(encode([walk])[0], embedding, atol=1e-4)


def parse(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure_evaluate(parser)
    return parser.parse_args([str(argument) for argument in arguments])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained network that says it was trained on subject 001 of the folder "x"."""
    config = TrainConfig(
        name="tiny", data=DataConfig(path="x"), iterations=1, network=TINY, sampler=SamplerConfig()
    )
    Training(config, ("001",)).save(tmp_path / "model.pt", None)
    return tmp_path / "model.pt"


def test_evaluate_command_on_checkpoints(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture
) -> None:
    write_cache(grid(4, ("000", "090"), ALL), tmp_path / "packed")
    out = tmp_path / "t.md", tmp_path / "t.json"
    files = ("--data", tmp_path / "packed", "--markdown", out[0], "--json", out[1])
    assert run_evaluate(parse(checkpoint, checkpoint, *files, "--subjects", "001:002")) == 0
    printed = capsys.readouterr().out
    assert "2 subjects, 40 samples" in printed
    assert "minus tiny, iteration 0, rank-1 0.0 [0.0, 0.0]" in printed
    assert "GEI, nearest neighbour, flattened L2" in out[0].read_text()
    assert "| all probes | NM rank-1 | BG rank-1 | CL rank-1 | mean |" in out[0].read_text()
    assert "all probes " in printed
    figures = json.loads(out[1].read_text())
    assert (len(figures["rows"]), len(figures["differences"])) == (18, 6)
    with pytest.raises(ModelFileError, match="not there"):
        open_embedder(tmp_path / "nothing.onnx")


def test_two_trainings_of_one_name_have_a_line_each(tmp_path: Path, checkpoint: Path) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(checkpoint.read_bytes())
    embedders = open_embedders([checkpoint, other])
    assert [embedder.name for embedder in embedders] == [
        f"tiny, iteration 0 ({path})" for path in (checkpoint, other)
    ]
    assert open_embedders([checkpoint])[0].name == "tiny, iteration 0"


def test_evaluate_command_on_an_ou_mvlp_tree(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture
) -> None:
    root, out = tmp_path / "raw", tmp_path / "t.json"
    for subject in range(1, 5):
        for view in ("000", "015"):
            for sequence in ("00", "01"):
                # Subject 4 has no gallery sample at 015.
                if (subject, view, sequence) != (4, "015", "01"):
                    frames = [body(14 + 8 * subject + number) for number in range(3)]
                    write_sample(root, f"Silhouette_{view}-{sequence}/{subject:05}", frames)
    kind = layout_of(root)
    pack(kind.scan(root), tmp_path / "packed", (64, 44), layout=kind)
    arguments = ("--data", tmp_path / "packed", "--protocol", "oumvlp", "--json", out)
    assert run_evaluate(parse(checkpoint, *arguments, "--partition", "oumvlp")) == 0
    printed = capsys.readouterr().out
    assert "2 subjects, 7 samples, 2 views" in printed
    assert "gallery sequence 01" in printed
    energy = [row for row in json.loads(out.read_text())["rows"] if "GEI" in row["method"]]
    assert [row["unmated_fail"] for row in energy] == [False, True] * 2
    assert {row["unmated"] for row in energy} == {2}
    assert energy[0]["figures"]["rank-1"]["value"] == 1.0
    assert energy[1]["figures"]["rank-1"]["value"] == 0.75


def test_subjects_that_a_checkpoint_was_trained_on_are_left_out(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture
) -> None:
    write_cache(grid(6, ("000", "090"), ALL), tmp_path / "packed")
    assert run_evaluate(parse(checkpoint, "--data", tmp_path / "packed", "--open-set")) == 0
    printed = capsys.readouterr().out
    assert "1 subjects that a checkpoint was trained on left out" in printed
    assert "5 subjects, 100 samples" in printed
    assert "Open set, tiny" in printed
    assert "rule of three" in printed
    with pytest.raises(DatasetError, match="test by the partition st"):
        run_evaluate(parse(checkpoint, "--data", tmp_path / "packed", "--partition", "st"))
    with pytest.raises(SystemExit):
        parse(checkpoint, "--partition", "st", "--subjects", "1:2")
    assert "not allowed with" in capsys.readouterr().err
