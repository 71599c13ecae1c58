"""Closed-set figures against a brute-force re-computation on hand-made embeddings."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cross_view import METRICS, CrossView
from model.distances import flat_distances, part_distances
from model.errors import DatasetError
from model.protocols import CASIA_B, OUMVLP, OUMVLP_FIRST, Labels, closed_set, cross_view

# One search: the gallery of one view as (distance, is it the own subject).
Gallery = list[tuple[float, bool]]


def ranked(gallery: Gallery) -> list[bool]:
    """Own or not, nearest first; of two equally near samples the other subject's comes first."""
    return [own for _, own in sorted(gallery)]


def hit_within(most: int) -> Callable[[Gallery], float]:
    return lambda gallery: float(any(ranked(gallery)[:most]))


def average_precision(gallery: Gallery) -> float:
    order = ranked(gallery)
    places = [place for place, own in enumerate(order, start=1) if own]
    return sum(sum(order[:place]) / place for place in places) / len(places) if places else 0.0


def inverse_negative_penalty(gallery: Gallery) -> float:
    order = ranked(gallery)
    last = max((place for place, own in enumerate(order, start=1) if own), default=0)
    return sum(order) / last if last else 0.0


BRUTE = {
    "rank-1": hit_within(1),
    "rank-5": hit_within(5),
    "rank-10": hit_within(10),
    "mAP": average_precision,
    "mINP": inverse_negative_penalty,
}


def mean(values: list[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def brute_matrix(
    metric: str, embeddings: np.ndarray, labels: Labels, kind: str, unmated_fail: bool
) -> list[list[float]]:
    """Every pair of views by loops over single samples, in Python's own floats."""
    columns = (labels.subjects, labels.conditions, labels.views)
    samples = list(zip(embeddings.tolist(), *columns, strict=True))
    gallery_conditions, searched = CASIA_B.gallery, CASIA_B.probes[kind]
    views = sorted({v for _, _, c, v in samples if c in (*gallery_conditions, *searched)})
    matrix = []
    for probe_view in views:
        row = []
        for gallery_view in views:
            values = []
            for vector, subject, condition, view in samples:
                if condition not in searched or view != probe_view:
                    continue
                gallery = [
                    (math.dist(vector, other), person == subject)
                    for other, person, enrolled, seen in samples
                    if enrolled in gallery_conditions and seen == gallery_view
                ]
                if gallery and (unmated_fail or any(own for _, own in gallery)):
                    values.append(BRUTE[metric](gallery))
            row.append(mean(values))
        matrix.append(row)
    return matrix


def brute_figure(matrix: list[list[float]]) -> float:
    return mean(
        [
            mean([value for column, value in enumerate(line) if column != row])
            for row, line in enumerate(matrix)
        ]
    )


@pytest.fixture
def small() -> tuple[np.ndarray, Labels]:
    """Five people at three views.

    Probe e has no gallery sample at all and d none at 090; there is no gallery at 180; c stands
    exactly between its own sample and b's at 000.
    """
    made = [
        # subject, condition, view, embedding
        ("a", "nm-01", "000", (0, 0)), ("a", "nm-02", "000", (0, 2)),
        ("a", "nm-01", "090", (1, 0)), ("b", "nm-01", "000", (4, 0)),
        ("b", "nm-03", "090", (3, 0)), ("b", "nm-04", "090", (9, 0)),
        ("c", "nm-01", "000", (6, 0)), ("c", "nm-01", "090", (7, 0)),
        ("d", "nm-02", "000", (20, 0)), ("a", "nm-05", "090", (0, 1)),
        ("a", "nm-06", "180", (5, 0)), ("b", "nm-05", "000", (4, 0)),
        ("b", "nm-05", "180", (0, 0)), ("c", "nm-05", "090", (5, 0)),
        ("d", "nm-05", "000", (8, 0)), ("d", "nm-06", "090", (14, 0)),
        ("e", "nm-05", "000", (1, 1)), ("e", "bg-01", "090", (2, 2)),
        ("a", "bg-01", "090", (2, 0)), ("c", "cl-02", "000", (6, 1)),
        ("a", "run-01", "000", (0, 0)),
    ]  # fmt: skip
    embeddings = np.array([vector for *_, vector in made], np.float32)
    return embeddings, Labels.of([(subject, c, v) for subject, c, v, _ in made])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("unmated_fail", [False, True])
def test_every_metric_equals_brute_force_on_hand_made_embeddings(
    small: tuple[np.ndarray, Labels], metric, unmated_fail: bool
) -> None:
    embeddings, labels = small
    for kind, result in closed_set(flat_distances, embeddings, labels).items():
        expected = brute_matrix(metric, embeddings, labels, kind, unmated_fail)
        matrix = result.matrix(metric, unmated_fail=unmated_fail)
        np.testing.assert_allclose(matrix, expected)
        figure = result.figure(metric, unmated_fail=unmated_fail)
        np.testing.assert_allclose(figure, brute_figure(expected))
        np.testing.assert_allclose(
            result.interval(metric, unmated_fail=unmated_fail, resamples=10).value, figure
        )


def test_the_hand_made_case_by_hand(small: tuple[np.ndarray, Labels]) -> None:
    results = closed_set(flat_distances, *small)
    normal = results["NM"]
    assert normal.views == ("000", "090", "180")
    rank_one = normal.matrix("rank-1")
    # Gallery 180 is missing: no column. Probes at 180: a at 5 is nearest to b and c, b at 0 to a.
    assert np.isnan(rank_one[:, 2]).all()
    assert rank_one[2].tolist()[:2] == [0.0, 0.0]
    # 090 against 000: a finds a, d finds d; c is as far from b (4) as from itself (6): a miss.
    assert rank_one[1, 0] == pytest.approx(2 / 3)
    # e has nobody in either gallery; d's probes have nobody at 090.
    assert normal.unmated == 2 + 2
    assert normal.matrix("rank-1", unmated_fail=True)[0, 1] == pytest.approx(1 / 3)
    assert rank_one[0, 1] == 1.0
    # c's tie with b: c ranks second, so its mAP is 1/2.
    assert normal.average_precision[normal.subjects == "c", 0] == [0.5]
    assert np.isnan(results["BG"].figure("rank-1")) == np.isnan(results["BG"].matrix("mAP")[1, 0])


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_random_cases_equal_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    conditions = ("nm-01", "nm-02", "nm-05", "bg-01", "cl-01")
    draw = generator.integers
    # The probes may know a subject or a view more than the gallery; few places make many ties.
    labels = Labels.of(
        [(f"s{draw(4)}", conditions[draw(5)], ("000", "090", "180")[draw(3)]) for _ in range(24)]
        + [("s0", "nm-01", "000"), ("s1", "nm-05", "090")]
    )
    embeddings = draw(0, 3, (26, 2)).astype(np.float32)
    for kind, result in closed_set(flat_distances, embeddings, labels).items():
        for metric in METRICS:
            for fail in (False, True):
                expected = brute_matrix(metric, embeddings, labels, kind, fail)
                np.testing.assert_allclose(result.matrix(metric, unmated_fail=fail), expected)


def test_the_part_distance_can_rank_otherwise() -> None:
    # Flattened, (3, 3) is nearer to (0, 0) than (5, 0) is; by the mean of the parts, it is not.
    labels = Labels.of([("a", "nm-05", "0"), ("a", "nm-01", "0"), ("b", "nm-01", "0")])
    embeddings = np.array([[0, 0], [3, 3], [5, 0]], np.float32)
    flat = closed_set(flat_distances, embeddings, labels)["NM"]
    parts = closed_set(lambda a, b: part_distances(a, b, 2), embeddings, labels)["NM"]
    assert (flat.identical_view, parts.identical_view) == (1.0, 0.0)


def test_probes_in_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch, small) -> None:
    whole = closed_set(flat_distances, *small)["NM"]
    monkeypatch.setattr("model.protocols.PROBES_AT_ONCE", 2)
    blocks = closed_set(flat_distances, *small)["NM"]
    np.testing.assert_array_equal(whole.rank, blocks.rank)
    np.testing.assert_array_equal(whole.inverse_negative_penalty, blocks.inverse_negative_penalty)


def test_an_encoder_that_maps_all_to_one_point_scores_zero() -> None:
    labels = Labels.of(
        [(str(s), c, v) for s in range(3) for c in CASIA_B.conditions for v in ("000", "090")]
    )
    results = closed_set(flat_distances, np.zeros((len(labels.subjects), 2), np.float32), labels)
    assert [results[kind].mean for kind in ("NM", "BG", "CL")] == [0, 0, 0]


def test_oumvlp_both_ways_round() -> None:
    # a is found from 00 in 01 and b is not, the other way both are; b has no 01 at view 015.
    labels = Labels.of(
        [("a", "00", "000"), ("b", "00", "000"), ("a", "01", "000"), ("a", "01", "015"),
         ("b", "01", "000"), ("b", "00", "015")]
    )  # fmt: skip
    embeddings = np.array([[0], [1], [0], [0.2], [5], [5]], np.float32)
    usual = closed_set(flat_distances, embeddings, labels, OUMVLP)["NM"]
    assert (usual.probes, usual.unmated) == (3, 2)
    np.testing.assert_allclose(usual.matrix("rank-1"), [[0.5, 1.0], [1.0, np.nan]])
    np.testing.assert_allclose(usual.matrix("rank-1", unmated_fail=True), [[0.5, 0.5], [1.0, 0.0]])
    assert usual.figure("rank-1") == 1.0
    assert usual.figure("rank-1", unmated_fail=True) == 0.75
    other = closed_set(flat_distances, embeddings, labels, OUMVLP_FIRST)["NM"]
    assert (other.probes, other.views) == (3, ("000", "015"))
    np.testing.assert_allclose(other.matrix("rank-1"), [[1.0, 1.0], [1.0, np.nan]])


def test_a_protocol_needs_its_gallery_and_its_probes() -> None:
    only = Labels.of([("a", "nm-01", "000")])
    with pytest.raises(DatasetError, match="casia-b, got samples in nm-01"):
        closed_set(flat_distances, np.zeros((1, 1), np.float32), only)
    with pytest.raises(
        DatasetError, match=r"gallery samples in 01 .* oumvlp, got samples in nm-01"
    ):
        closed_set(flat_distances, np.zeros((1, 1), np.float32), only, OUMVLP)


def result_of(ranks: list[list[float]], subjects: list[str]) -> CrossView:
    rank = np.array(ranks)
    nothing = np.zeros(rank.shape)
    views = tuple(f"{18 * view:03}" for view in range(rank.shape[1]))
    place = np.arange(len(rank)) % rank.shape[1]
    return CrossView(views, np.array(subjects), place, rank, nothing, nothing)


def test_the_cumulative_curve_is_rank_k_at_each_k() -> None:
    result = result_of([[1, 3], [2, 1], [9, 5], [np.inf, 1]], ["a", "a", "b", "b"])
    curve = result.cumulative(10)
    assert curve[0] == result.figure("rank-1")
    assert curve[4] == result.figure("rank-5")
    assert curve[9] == result.figure("rank-10")
    assert (np.diff(curve) >= 0).all()


def test_an_interval_by_subject_equals_a_loop() -> None:
    generator = np.random.default_rng(4)
    ranks = generator.integers(1, 3, (24, 2)).astype(float)
    subjects = [f"{i // 4}" for i in range(24)]
    interval = result_of(ranks.tolist(), subjects).interval("rank-1", resamples=60)
    drawn = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), 60)
    figures = []
    for counts in drawn:
        # Probe view i % 2, the other gallery view: mean by probe view, then over both.
        chosen = [i for i in range(24) for _ in range(counts[i // 4])]
        cells = [[ranks[i, 1 - view] == 1 for i in chosen if i % 2 == view] for view in (0, 1)]
        figures.append(np.mean([np.mean(cell) for cell in cells]))
    low, high = np.quantile(figures, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_two_models_are_compared_on_the_same_probes_only() -> None:
    subjects = [f"{i // 2}" for i in range(20)]
    better = result_of([[1, 1]] * 20, subjects)
    worse = result_of([[1, 1] if i % 3 else [2, 2] for i in range(20)], subjects)
    difference = better.difference(worse)
    assert difference.value == pytest.approx(better.mean - worse.mean)
    assert 0 < difference.low < difference.high
    with pytest.raises(DatasetError, match="same probes"):
        better.difference(result_of([[1, 1]] * 18, subjects[:18]))


def test_cross_view_takes_a_gallery_that_knows_nobody() -> None:
    asked = Labels.of([("x", "nm-05", "000")])
    known = Labels.of([("a", "nm-01", "000")])
    vectors = np.zeros((1, 2), np.float32)
    result = cross_view(flat_distances, vectors, asked, vectors, known)
    assert result.unmated == 1
    assert math.isnan(result.identical_view)
