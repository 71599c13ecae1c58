"""Protocols against loops, tables, the baseline, and thresholds."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DataConfig, TrainConfig
from model.dataset import Dataset, Sample, pack
from model.distances import flat_distances, part_distances
from model.embed import Embedder, embed, encode_with, gei_embedder, open_embedder
from model.errors import DatasetError, ModelFileError
from model.evaluate import as_json, evaluate, subject_range
from model.evaluate import configure as configure_evaluate
from model.evaluate import run as run_evaluate
from model.gei import gait_energy_image
from model.network import MetaGait, NetworkConfig
from model.protocols import (
    GALLERY,
    PROBES,
    Labels,
    average_precision,
    casia_b,
    cross_view,
    nearest,
    open_set,
)
from model.sampler import SamplerConfig
from model.tables import markdown_table, text_table
from model.threshold import calibrate
from model.train import Training

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
ALL = (*GALLERY, *(condition for conditions in PROBES.values() for condition in conditions))


def naive_rank_one(
    distances: np.ndarray, probes: Labels, gallery: Labels, probe_view: str, gallery_view: str
) -> float:
    hits = []
    for p in range(len(probes.subjects)):
        if probes.views[p] != probe_view:
            continue
        candidates = [
            (distances[p, g], gallery.subjects[g])
            for g in range(len(gallery.subjects))
            if gallery.views[g] == gallery_view
        ]
        if probes.subjects[p] not in {subject for _, subject in candidates}:
            continue
        smallest = min(distance for distance, _ in candidates)
        hits.append({s for d, s in candidates if d == smallest} == {probes.subjects[p]})
    return sum(hits) / len(hits) if hits else math.nan


def naive_average_precision(distances: np.ndarray, own: np.ndarray) -> float:
    ranked = sorted(zip(distances.tolist(), own.tolist(), strict=True))
    precisions = [
        sum(o for _, o in ranked[: place + 1]) / (place + 1)
        for place, (_, is_own) in enumerate(ranked)
        if is_own
    ]
    return sum(precisions) / len(precisions)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_cross_view_equals_a_loop_with_ties_missing_views_and_unmated_probes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    views = np.array(["000", "090", "180"])

    def labels(count: int, ids: int, seen: int) -> Labels:
        return Labels(
            generator.integers(0, ids, count).astype(np.str_),
            np.full(count, "nm-01"),
            views[generator.integers(0, seen, count)],
        )

    # The probes know one subject and one view more than the gallery.
    probes, gallery = labels(12, 4, 3), labels(9, 3, 2)
    distances = generator.integers(0, 4, (12, 9)).astype(np.float32)
    result = cross_view(distances, probes, gallery)
    unmated = 0
    for row, probe_view in enumerate(result.views):
        for column, gallery_view in enumerate(result.views):
            expected = naive_rank_one(distances, probes, gallery, probe_view, gallery_view)
            np.testing.assert_allclose(result.rank_one[row, column], expected)
            there = gallery.views == gallery_view
            if there.any():
                unmated += sum(
                    view == probe_view and subject not in gallery.subjects[there]
                    for subject, view in zip(probes.subjects, probes.views, strict=True)
                )
    assert result.unmated == unmated


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_average_precision_equals_a_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    distances = generator.integers(0, 5, (6, 8)).astype(np.float32)
    own = generator.random((6, 8)) < 0.4
    own[:, 3] = True
    expected = [naive_average_precision(d, o) for d, o in zip(distances, own, strict=True)]
    np.testing.assert_allclose(average_precision(distances, own), expected)


def test_protocol_by_hand() -> None:
    # Two views; subject a is found from the other view, subject b is taken for a.
    samples = [("a", "nm-01", "000"), ("b", "nm-02", "000"), ("a", "nm-03", "090"),
               ("b", "nm-04", "090")]  # fmt: skip
    searched = [("a", "nm-05", "000"), ("b", "nm-06", "000"), ("a", "cl-01", "090"),
                ("x", "bg-01", "000")]  # fmt: skip
    distances = np.array(
        [[0.0, 5.0, 1.0, 2.0], [5.0, 0.0, 1.0, 2.0], [1.0, 2.0, 9.0, 9.0], [1, 2, 3, 4]], np.float32
    )
    results = casia_b(distances, Labels.of(searched), Labels.of(samples))
    normal = results["NM"]
    assert normal.views == ("000", "090")
    np.testing.assert_allclose(normal.per_probe_view(), [0.5, np.nan])
    assert normal.mean == 0.5
    assert normal.identical_view == 1.0
    assert normal.mean_average_precision == pytest.approx((1 + 0.5) / 2)
    assert results["CL"].mean == 1.0
    # Equally near in its own view: counted as a failure.
    assert results["CL"].identical_view == 0.0
    assert math.isnan(results["BG"].mean)
    assert results["BG"].unmated == 2


def test_an_encoder_that_maps_all_to_one_point_scores_zero() -> None:
    labels = Labels.of([(str(s), c, v) for s in range(3) for c in ALL for v in ("000", "090")])
    distances = np.zeros((len(labels.subjects),) * 2, np.float32)
    results = casia_b(distances, labels, labels)
    assert [results[kind].mean for kind in ("NM", "BG", "CL")] == [0, 0, 0]


def test_protocol_needs_gallery_and_probes() -> None:
    only = Labels.of([("a", "nm-01", "000")])
    with pytest.raises(DatasetError, match="probes"):
        casia_b(np.zeros((1, 1), np.float32), only, only)
    with pytest.raises(DatasetError, match="gallery"):
        casia_b(np.zeros((1, 0), np.float32), Labels.of([("a", "nm-05", "000")]), Labels.of([]))


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
    assert "4 subjects, 120 samples, 3 views" in evaluation.notes[0]


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


def test_tables_show_views_means_and_gaps() -> None:
    dataset = grid(3, ("000", "090"), (*GALLERY, "nm-05", "cl-01"))
    some = Dataset(tuple(s for s in dataset.samples if (s.condition, s.view) != ("cl-01", "090")))
    evaluation = evaluate(some, BY_ROWS)
    text = text_table(evaluation.rows).splitlines()
    assert text[0].split() == ["probe", "method", "0°", "90°", "mean", "mAP", "same", "view"]
    assert text[1].split() == ["NM", "rows,", "flattened", "L2", *["100.0"] * 5]
    assert text[2].split()[4:] == ["100.0", "–", "100.0", "100.0", "100.0"]
    markdown = markdown_table(evaluation.rows).splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    plain = json.loads(json.dumps(as_json(evaluation)))
    assert plain["rows"][0]["rank_one_mean"] == 1.0
    assert plain["rows"][1]["rank_one"] == [[1.0, 1.0], [None, None]]


def test_subjects_are_chosen_by_their_ends() -> None:
    dataset = grid(5, ("000",), ("nm-01",))
    assert subject_range(dataset, "001:003") == ("001", "002", "003")
    assert subject_range(dataset, "003:") == ("003", "004")
    for wrong in ("003", "9:", ""):
        with pytest.raises(DatasetError, match="A:B"):
            subject_range(dataset, wrong)


def test_gait_energy_image_is_the_mean_silhouette() -> None:
    walk = np.random.default_rng(0).integers(0, 256, (7, 64, 44)).astype(np.uint8)
    expected = [walk[:, h, w].astype(float).mean() / 255 for h in range(64) for w in range(44)]
    np.testing.assert_allclose(gait_energy_image(walk), expected, rtol=1e-5)


def test_samples_are_embedded_each_once_whatever_their_length() -> None:
    samples = tuple(
        Sample(f"{n:03}", "nm-01", "000", length, Still(bar(n), length))
        for n, length in enumerate([300, 3, 100, 250, 7, 1, 90])
    )
    seen: list[int] = []

    def encode(walks: Sequence[np.ndarray]) -> np.ndarray:
        seen.append(len(walks) * max(len(walk) for walk in walks))
        return mean_walks(walks)

    embedded = embed(Dataset(samples), encode)
    assert max(seen) <= 480
    assert {s.subject for s in embedded.samples} == {s.subject for s in samples}
    for sample, embedding in zip(embedded.samples, embedded.embeddings, strict=True):
        assert int(embedding.argmax()) == int(sample.subject)


def test_torch_embeddings_of_a_ragged_batch_equal_single_ones() -> None:
    torch.manual_seed(3)
    encode = encode_with(MetaGait(TINY))
    generator = np.random.default_rng(1)
    walks = [generator.integers(0, 256, (t, 64, 44)).astype(np.uint8) for t in (4, 11, 2)]
    together = encode(walks)
    for walk, embedding in zip(walks, together, strict=True):
        np.testing.assert_allclose(encode([walk])[0], embedding, atol=1e-4)


def test_evaluate_command_on_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import argparse

    config = TrainConfig(
        name="tiny", data=DataConfig(path="x"), iterations=1, network=TINY, sampler=SamplerConfig()
    )
    Training(config, ("001",)).save(tmp_path / "model.pt", None)
    pack(grid(3, ("000", "090"), ALL), tmp_path / "packed")
    parser = argparse.ArgumentParser()
    configure_evaluate(parser)
    arguments = [str(tmp_path / "model.pt"), "--data", str(tmp_path / "packed")]
    arguments += ["--markdown", str(tmp_path / "t.md"), "--json", str(tmp_path / "t.json")]
    assert run_evaluate(parser.parse_args([*arguments, "--subjects", "001:002"])) == 0
    printed = capsys.readouterr().out
    assert "2 subjects, 40 samples" in printed
    assert "GEI, nearest neighbour, flattened L2" in (tmp_path / "t.md").read_text()
    assert len(json.loads((tmp_path / "t.json").read_text())["rows"]) == 12
    with pytest.raises(ModelFileError, match="not there"):
        open_embedder(tmp_path / "nothing.onnx")


def test_open_set_numbers_by_hand() -> None:
    nonmated = np.arange(1.0, 101.0)
    mated = np.array([0.5, 2.0, 3.2, 4.0, np.inf])
    result = open_set(mated, nonmated, 0.03)
    assert 3 < result.threshold < 4
    assert result.fpir == pytest.approx(0.03)
    assert result.fnir == pytest.approx(2 / 5)
    assert (result.mated, result.nonmated) == (5, 100)


def test_open_set_with_ties_stays_below_its_target() -> None:
    nonmated = np.array([1.0] * 10 + [2.0] * 90)
    result = open_set(np.array([0.5, 1.0]), nonmated, 0.05)
    assert result.threshold < 1.0
    assert result.fpir == 0.0
    assert result.fnir == 0.5


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000), count=st.integers(60, 200), target=st.sampled_from([0.05, 0.1, 0.3])
)
def test_open_set_threshold_is_the_largest_that_holds(seed: int, count: int, target: float) -> None:
    generator = np.random.default_rng(seed)
    nonmated = generator.integers(1, 30, count) / 7
    result = open_set(generator.random(20), nonmated, target)
    assert result.fpir == np.mean(nonmated < result.threshold) <= target
    above = min(d for d in nonmated if d > result.threshold or d == nonmated.max())
    assert np.mean(nonmated <= above) > target


def test_open_set_refuses_too_few_searches() -> None:
    with pytest.raises(DatasetError, match="at least 300"):
        open_set(np.ones(5), np.ones(299), 0.01)
    assert open_set(np.ones(5), np.ones(300), 0.01).nonmated == 300
    with pytest.raises(DatasetError, match="mated"):
        open_set(np.ones(0), np.ones(300), 0.01)
    with pytest.raises(DatasetError, match="between 0 and 1"):
        open_set(np.ones(5), np.ones(300), 1.0)


def test_searches_are_sorted_into_mated_and_nonmated() -> None:
    distances = np.array([[1, 2, 3], [2, 1, 3], [3, 4, 5], [2, 2, 9]], np.float32)
    probes, gallery = np.array(["a", "a", "x", "a"]), np.array(["a", "b", "a"])
    mated, nonmated = nearest(distances, probes, gallery)
    assert mated.tolist() == [1.0, np.inf, np.inf]
    assert nonmated.tolist() == [3.0]


def test_calibration_measures_what_it_says() -> None:
    dataset = grid(12, ("000", "036", "090"), ("nm-01", "nm-02", "nm-05", "bg-01", "cl-01"))
    threshold = calibrate(mean_walks, dataset, target_fpir=0.06, samples_each=2)
    assert threshold.gallery_subjects == 6
    assert threshold.searches == 6 * 3 * 3
    assert threshold.fnir == 0.0
    # Two bars in different rows: every stranger is equally far from everybody.
    stranger = np.linalg.norm(mean_walks([bar(0)[None]]) - mean_walks([bar(1)[None]]))
    assert 0 < threshold.distance < stranger
    with pytest.raises(DatasetError, match="non-mated"):
        calibrate(mean_walks, dataset, target_fpir=0.01)
