"""Open set against loops and figures worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.distances import flat_distances
from model.errors import DatasetError
from model.open_set import (
    Searches,
    Split,
    by_gallery_size,
    det,
    fnir_interval,
    fpir_interval,
    open_set,
    search,
    splits,
    why_not,
)
from model.open_set_report import open_set_report
from model.protocols import Labels


def names(count: int, each: int = 1) -> np.ndarray:
    return np.repeat([f"{i:05}" for i in range(count)], each)


def searches(mated: list[float] | np.ndarray, nonmated: np.ndarray, each: int = 1) -> Searches:
    """Every stranger searches `each` times, everybody else once."""
    return Searches(
        np.asarray(mated, np.float64),
        names(len(mated)),
        np.asarray(nonmated, np.float64),
        names(len(nonmated) // each, each),
        names(len(nonmated)),
        7,
    )


def test_numbers_by_hand() -> None:
    result = open_set(searches([0.5, 2.0, 3.2, 4.0, np.inf], np.arange(1.0, 101.0)), 0.03)
    assert 3 < result.threshold < 4
    assert result.fpir == pytest.approx(0.03)
    assert result.fnir == pytest.approx(2 / 5)
    assert (result.mated, result.nonmated) == (5, 100)


def test_ties_stay_below_the_target() -> None:
    result = open_set(searches([0.5, 1.0], np.array([1.0] * 10 + [2.0] * 90)), 0.05)
    assert result.threshold < 1.0
    assert result.fpir == 0.0
    assert result.fnir == 0.5


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000), count=st.integers(60, 200), target=st.sampled_from([0.05, 0.1, 0.3])
)
def test_the_threshold_is_the_largest_that_holds(seed: int, count: int, target: float) -> None:
    generator = np.random.default_rng(seed)
    nonmated = generator.integers(1, 30, count) / 7
    result = open_set(searches(generator.random(20), nonmated), target)
    assert result.fpir == np.mean(nonmated < result.threshold) <= target
    above = min(d for d in nonmated if d > result.threshold or d == nonmated.max())
    assert np.mean(nonmated <= above) > target


def test_too_few_searches_are_refused_and_the_sentence_says_so() -> None:
    with pytest.raises(DatasetError, match=r"at least 300 independent .* 1 % .* got 299 searches"):
        open_set(searches(np.ones(5), np.ones(299)), 0.01)
    enough = searches(np.ones(5), np.arange(2999.0))
    assert open_set(enough, 0.01).nonmated == 2999
    refusal = why_not(enough, 0.001)
    assert refusal is not None
    assert "3000 independent" in refusal
    assert "rule of three" in refusal
    assert why_not(searches(np.ones(5), np.arange(3000.0)), 0.001) is None
    with pytest.raises(DatasetError, match="one mated search"):
        open_set(searches([], np.ones(300)), 0.01)
    with pytest.raises(DatasetError, match="between 0 and 1"):
        open_set(searches(np.ones(5), np.ones(300)), 1.0)


def test_a_walk_seen_by_many_cameras_is_one_independent_search() -> None:
    some = replace(searches([1.0], np.arange(3000.0), each=10), nonmated_walks=names(600, 5))
    assert (some.strangers, some.independent) == (300, 600)
    assert why_not(some, 0.01) is None
    assert "3000 searches by 600 walks of 300 strangers" in str(why_not(some, 0.001))
    joined = some.joined(replace(some, gallery_subjects=9))
    assert (len(joined.nonmated), joined.independent, joined.gallery_subjects) == (6000, 600, 9)


def naive_search(split: Split) -> tuple[list[float], list[float]]:
    mated, nonmated = [], []
    for probe, subject in zip(split.probes, split.asked, strict=True):
        near = sorted(
            (float(np.linalg.norm(probe - sample)), person == subject)
            for sample, person in zip(split.gallery, split.known, strict=True)
        )
        if subject not in split.known:
            nonmated.append(near[0][0])
        else:
            mated.append(near[0][0] if near[0][1] else np.inf)
    return mated, nonmated


def test_searches_equal_a_loop_ties_being_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    probes, gallery = (generator.integers(0, 4, (n, 2)).astype(np.float32) for n in (40, 9))
    asked = np.array(list("abcdexyz") * 5)
    split = Split(gallery, np.array(list("aabbbccdd")), probes, asked, names(40))
    monkeypatch.setattr("model.open_set.PROBES_AT_ONCE", 7)
    found = search(flat_distances, split)
    mated, nonmated = naive_search(split)
    np.testing.assert_allclose(found.mated, mated, rtol=1e-6)
    np.testing.assert_allclose(found.nonmated, nonmated, rtol=1e-6)
    assert (np.isinf(found.mated) & (np.array(mated) == np.inf)).any()
    assert found.gallery_subjects == 4
    assert set(found.nonmated_subjects) == set("exyz")


def people(count: int, seed: int = 0) -> tuple[np.ndarray, Labels]:
    """Well-parted people with 2 gallery and 3 probe samples each, at two views."""
    generator = np.random.default_rng(seed)
    labels, vectors = [], []
    for subject in range(count):
        centre = generator.normal(0, 1, 8)
        for condition in ("nm-01", "nm-02", "nm-05", "bg-01", "cl-01"):
            for view in ("000", "090"):
                labels.append((f"{subject:04}", condition, view))
                vectors.append(centre + generator.normal(0, 0.2, 8))
    return np.array(vectors, np.float32), Labels.of(labels)


def test_both_halves_are_enrolled_in_turn_each_subject_by_the_same_draw() -> None:
    embeddings, labels = people(9)
    first, second = splits(embeddings, labels, samples_each=3)
    assert sorted({*first.known} | {*second.known}) == sorted({*labels.subjects})
    assert not {*first.known} & {*second.known}
    assert np.unique(first.known, return_counts=True)[1].tolist() == [3] * 5
    assert len(first.asked) == len(second.asked) == 9 * 3 * 2
    order = np.random.default_rng(0).permutation(len(embeddings))
    again, _ = splits(
        embeddings[order],
        Labels(labels.subjects[order], labels.conditions[order], labels.views[order]),
        samples_each=3,
    )
    np.testing.assert_array_equal(again.gallery, first.gallery)
    assert search(flat_distances, first).joined(search(flat_distances, second)).independent == 27
    with pytest.raises(DatasetError, match="two subjects or more"):
        splits(embeddings[:10], Labels.of([("0", "nm-01", "000")] * 10))


def test_the_trade_off_curve_is_what_each_threshold_does() -> None:
    generator = np.random.default_rng(3)
    some = searches(np.append(generator.random(30), np.inf), generator.random(50) + 0.3)
    curve = det(some)
    for threshold, fpir, fnir in zip(curve.thresholds, curve.fpir, curve.fnir, strict=True):
        assert fpir == pytest.approx(np.mean(some.nonmated < threshold))
        assert fnir == pytest.approx(np.mean(~(some.mated < threshold)))
    assert (curve.fpir[0], curve.fpir[-1]) == (0.0, 1.0)
    assert curve.fnir[-1] == pytest.approx(1 / 31)
    assert len(det(some, points=10).thresholds) == 11


def test_intervals_equal_a_loop_that_chooses_each_threshold_anew() -> None:
    generator = np.random.default_rng(8)
    some = replace(
        searches(generator.random(30), generator.random(60) + 0.2, each=2),
        mated_subjects=names(30),
    )
    interval = fnir_interval(some, 0.1, resamples=40)
    figures = []
    for counts in np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), 40):
        drawn = [person for person in range(30) for _ in range(counts[person])]
        nonmated = np.sort([d for p in drawn for d in some.nonmated[2 * p : 2 * p + 2]])
        refused = nonmated[int(0.1 * len(nonmated) + 1e-9)]
        nearer = nonmated[nonmated < refused]
        threshold = (nearer[-1] + refused) / 2 if len(nearer) else refused * (1 - 1e-4)
        figures.append(np.mean([not some.mated[p] < threshold for p in drawn]))
    low, high = np.quantile(figures, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.value == open_set(some, 0.1).fnir
    fpir = fpir_interval(some, open_set(some, 0.1).threshold)
    assert fpir.low <= fpir.value <= 0.1 <= fpir.high


def test_draws_without_a_stranger_have_no_threshold_and_miss_nobody() -> None:
    # Two people: in a quarter of the draws nobody is a stranger.
    some = replace(
        searches([0.1, 0.2], np.arange(1.0, 11.0), each=10), mated_subjects=np.array(["a", "a"])
    )
    assert open_set(some, 0.5).fnir == 0
    interval = fnir_interval(some, 0.5)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_a_larger_gallery_needs_a_smaller_threshold() -> None:
    embeddings, labels = people(60)
    split, _ = splits(embeddings, labels)
    sizes = by_gallery_size(flat_distances, split, 0.1, draws=10, sizes=4)
    assert [size.subjects for size in sizes] == [4, 8, 15, 30]
    thresholds = [size.threshold for size in sizes]
    assert thresholds == sorted(thresholds, reverse=True)
    whole = search(flat_distances, split)
    assert thresholds[-1] == pytest.approx(open_set(whole, 0.1).threshold)
    assert sizes[-1].fpir <= 0.1
    assert sizes[0].fpir < sizes[-1].fpir


def test_a_report_states_one_percent_and_refuses_a_tenth() -> None:
    embeddings, labels = people(120)
    report = open_set_report("a model", embeddings, labels)
    text = report.markdown()
    assert "60) enrolled" in text
    assert "| 0.1 % | not stated | not stated | not stated |" in text
    assert "3000 independent" in text
    assert "720 searches by 360 walks of 120 strangers" in text
    values = report.values()
    one, tenth = values["points"]
    assert one["fnir"]["low"] <= one["fnir"]["value"] <= one["fnir"]["high"]
    assert tenth["threshold"] is None
    assert "rule of three" in tenth["not_stated_because"]
    assert values["nonmated"] == values["mated"] == 120 * 3 * 2
    assert len(values["det"]["fpir"]) == len(values["det"]["threshold"])
    assert [size["subjects"] for size in values["by_gallery_size"]][-1] == 60
