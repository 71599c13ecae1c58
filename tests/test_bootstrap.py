"""Intervals by subject against loops, and whether they hold what they promise."""

import numpy as np
import pytest

from model.bootstrap import (
    Resampling,
    difference_interval,
    mean_interval,
    mean_of_groups,
    percentile_interval,
)
from model.errors import DatasetError


def searches(people: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hits of people who differ in how well they are found, and their subjects."""
    generator = np.random.default_rng(seed)
    rates = generator.beta(2, 2, people)
    hits = generator.random((people, each)) < rates[:, None]
    return hits.ravel(), np.repeat([f"{i:03}" for i in range(people)], each)


def test_a_mean_interval_equals_a_loop_over_the_same_draws() -> None:
    hits, subjects = searches(7, 5)
    interval = mean_interval(hits, subjects, resamples=50, seed=3)
    drawn = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), 50)
    means = []
    for counts in drawn:
        chosen = [
            hit
            for person, count in enumerate(counts)
            for _ in range(count)
            for hit in hits[subjects == f"{person:03}"]
        ]
        means.append(np.mean(chosen))
    assert interval.value == pytest.approx(hits.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_groups_are_averaged_after_their_own_means() -> None:
    # One search of the first group counts as much as the three of the second.
    values = np.array([1.0, 0.0, 0.0, 1.0])
    groups = np.array([0, 1, 1, 1])
    assert mean_interval(values, np.array(list("abcd")), groups=groups).value == pytest.approx(
        (1 + 1 / 3) / 2
    )
    last = mean_interval(
        values, np.array(list("aaaa")), groups=groups, statistic=lambda rates: rates[:, 1]
    )
    assert (last.value, last.low, last.high) == pytest.approx((1 / 3,) * 3)


def test_a_draw_without_anybody_of_a_group_leaves_the_group_out() -> None:
    rates = Resampling.of(np.array(["a", "b"]), resamples=40).rates(
        np.array([1.0, 0.0]), np.array(["a", "b"]), np.array([0, 1])
    )
    assert np.isnan(rates).any()
    assert set(mean_of_groups(rates).tolist()) == {0.0, 0.5, 1.0}
    assert np.isnan(mean_of_groups(np.full((2, 3), np.nan))).all()


def test_the_paired_difference_is_narrower_than_two_intervals_apart() -> None:
    hits, subjects = searches(40, 10)
    worse = hits & (np.arange(len(hits)) % 10 != 0)
    difference = difference_interval(hits, worse, subjects)
    assert difference.value == pytest.approx(hits.mean() - worse.mean())
    assert 0 < difference.low < difference.value < difference.high
    alone = mean_interval(hits, subjects)
    assert difference.high - difference.low < alone.high - alone.low
    same = difference_interval(hits, hits, subjects)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_people_not_searches_decide_the_width() -> None:
    few, many = (searches(20, each) for each in (4, 400))
    widths = [i.high - i.low for i in (mean_interval(*few), mean_interval(*many))]
    # A hundred times as many searches of the same 20 people would be ten times narrower.
    assert widths[1] > widths[0] / 2


def test_the_interval_holds_the_true_rate_about_as_often_as_it_says() -> None:
    # Beta(2, 2) has mean 0.5; with 40 people a percentile interval is a little too narrow.
    intervals = [mean_interval(*searches(40, 5, seed), resamples=300) for seed in range(200)]
    held = np.mean([i.low <= 0.5 <= i.high for i in intervals])
    assert 0.88 <= held <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    hits, subjects = searches(10, 3)
    order = np.random.default_rng(1).permutation(len(hits))
    assert mean_interval(hits, subjects) == mean_interval(hits[order], subjects[order])
    assert mean_interval(hits, subjects) != mean_interval(hits, subjects, seed=1)


def test_an_interval_is_printed_in_percent() -> None:
    assert (
        str(mean_interval(np.array([True, True]), np.array(["a", "b"]))) == "100.0 [100.0, 100.0]"
    )


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(DatasetError, match="got 0 values"):
        mean_interval(np.array([]), np.array([], np.str_))
    with pytest.raises(DatasetError, match="3 values and 2 subjects"):
        difference_interval(np.ones(3), np.ones(3), np.array(["a", "b"]))
    with pytest.raises(DatasetError, match="at least one subject"):
        Resampling.of(np.array([], np.str_))
    with pytest.raises(DatasetError, match="confidence"):
        percentile_interval(np.zeros(3), 1.0)
    assert np.isnan(percentile_interval(np.array([np.nan, 0.5])).low)
