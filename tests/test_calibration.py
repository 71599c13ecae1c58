"""Calibration against loops and the model room's rule, on galleries small enough to work out."""

import argparse
from contextlib import closing

import numpy as np
import pytest

from gallery import CalibrationRefused, Gallery
from gallery.calibration import measure
from gallery.commands.calibrate import configure, run
from gallery.following import Chunk
from gallery.open_set import Ranked, bootstrap, rate_shown, searches_needed, share
from gallery.searches import Searches, aggregate, whole_subjects
from model.open_set import Searches as ModelSearches
from model.open_set import open_set

LENGTH = 6


def people(count, samples_each=3, seed=0, spread=0.3):
    """Subjects and embeddings float32 `[N, 6]`: clouds around a point of each subject."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(count, LENGTH))
    subjects = [f"s{number:03d}" for number in range(count) for _ in range(samples_each)]
    noise = spread * generator.normal(size=(count * samples_each, LENGTH))
    return subjects, (np.repeat(centres, samples_each, axis=0) + noise).astype(np.float32)


def filled(location, subjects, embeddings):
    gallery = Gallery.open(location, model_id="model-a", embedding_length=LENGTH)
    order = np.random.default_rng(1).permutation(len(subjects))  # subjects come mixed
    for place in order:
        gallery.enroll(subjects[place], embeddings[place], silhouettes=None)
    return gallery


def by_loops(subjects, embeddings, count):
    """Each probe's distance to its own subject's others, and to the nearest other subject."""
    own, other = [], []
    for place, probe in enumerate(embeddings):
        of_subject = {}
        for number, sample in enumerate(embeddings):
            if number != place:
                distance = float(np.linalg.norm(probe.astype(np.float64) - sample))
                of_subject.setdefault(subjects[number], []).append(distance)
        means = {name: np.mean(sorted(all_)[:count]) for name, all_ in of_subject.items()}
        own.append(means.pop(subjects[place], np.inf))
        other.append(min(means.values()))
    return np.array(own), np.array(other)


def searches_of(own, other, subjects):
    numbers = np.unique(subjects, return_inverse=True)[1]
    return Searches(numbers, own, other, len(set(subjects)), len(subjects))


@pytest.mark.parametrize(("aggregation", "count"), [("nearest", 1), ("mean", 2)])
def test_a_gallery_is_calibrated_as_loops_say(tmp_path, aggregation, count):
    subjects, embeddings = people(20)
    gallery = filled(tmp_path, subjects, embeddings)
    gallery.change_settings({"aggregation": aggregation, "nearest_samples": count})
    measured = gallery.calibrate(0.2)
    own, other = by_loops(subjects, embeddings, count)
    threshold = measured.threshold
    assert measured.fpir == np.mean(other < threshold) <= 0.2
    assert measured.fnir == np.mean(~((own < other) & (own < threshold)))
    # The largest such threshold: the next farther stranger would be one too many.
    assert np.mean(other <= other[other > threshold].min()) > 0.2
    assert threshold < measured.inconclusive_to
    assert np.mean(other < measured.inconclusive_to) <= 0.5
    low, high = measured.threshold_interval
    assert low <= threshold <= high
    assert measured.fpir_interval.low <= measured.fpir <= measured.fpir_interval.high
    assert measured.fpir_interval.high >= 3 / 20
    assert (measured.subjects, measured.samples, measured.independent_searches) == (20, 60, 20)
    assert gallery.calibration() == measured
    gallery.close()


def test_too_few_subjects_are_refused_with_what_they_could_show(location):
    gallery = filled(location, *people(10, samples_each=2))
    with pytest.raises(CalibrationRefused, match=r"at least 300 .* got 10, which can show 0.3"):
        gallery.calibrate(0.01)
    for wrong in (0, 1, -0.1, 7, 1e-320, float("nan")):
        with pytest.raises(CalibrationRefused, match="from 1e-06 to below 1"):
            gallery.calibrate(wrong)
    assert gallery.calibration() is None
    gallery.close()


def test_a_rate_that_no_gallery_can_show_is_not_said_to_lack_subjects():
    own, other = np.full(4096, np.inf), np.arange(1.0, 4097.0)
    searches = Searches(np.arange(4096), own, other, 100_000, 300_000)
    with pytest.raises(CalibrationRefused, match=r"of 0\.00074 or more, which the 4096 .*0\.0001"):
        measure(searches, 1e-4, "nearest")
    assert measure(searches, 0.001, "nearest").independent_searches == 4096


@pytest.mark.parametrize("independent", [4, 7, 100, 299, 300, 4096])
def test_the_rate_that_is_said_to_be_shown_can_be_asked_for(independent):
    assert searches_needed(rate_shown(independent)) <= independent


def test_an_empty_gallery_is_refused(location):
    gallery = Gallery.open(location, model_id="model-a", embedding_length=LENGTH)
    with pytest.raises(CalibrationRefused, match="got 0"):
        gallery.calibrate(0.5)
    gallery.close()


@pytest.mark.parametrize("common", [0, 1000])
def test_what_all_embeddings_have_in_common_does_not_move_the_threshold(tmp_path, common):
    subjects, embeddings = people(20, spread=0.05)
    embeddings = (common + embeddings).astype(np.float32)
    gallery = filled(tmp_path, subjects, embeddings)
    measured = gallery.calibrate(0.25)
    gallery.close()
    _, other = by_loops(subjects, embeddings, 1)
    assert measured.threshold == pytest.approx(Ranked(other).threshold(0.25), rel=1e-6)
    assert measured.fpir <= 0.25


def test_walks_under_two_names_are_no_gallery_to_promise_a_rate_from(tmp_path):
    subjects, embeddings = people(20, samples_each=1)
    embeddings[1:10:2] = embeddings[0:10:2]  # five walks are enrolled twice
    gallery = filled(tmp_path, subjects, embeddings + np.float32(100))
    with pytest.raises(CalibrationRefused, match=r"at most 0.25 .* got 0.5: the same walks"):
        gallery.calibrate(0.25)
    assert gallery.calibrate(0.5).fpir == 0.5
    gallery.close()


def test_single_samples_give_a_threshold_and_no_fnir():
    subjects, embeddings = people(12, samples_each=1)
    own, other = by_loops(subjects, embeddings, 1)
    measured = measure(searches_of(own, other, subjects), 0.25, "nearest")
    assert (measured.fnir, measured.mated_searches) == (None, 0)
    assert measured.fpir == 0.25


def test_a_calibration_holds_until_outgrown_or_compared_otherwise():
    subjects, embeddings = people(12)
    own, other = by_loops(subjects, embeddings, 1)
    measured = measure(searches_of(own, other, subjects), 0.25, "nearest")
    assert measured.holds_for(18, "nearest")
    assert not measured.holds_for(19, "nearest")
    assert not measured.holds_for(12, "mean of nearest 2")


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_the_one_that_the_model_room_would_choose(seed):
    generator = np.random.default_rng(seed)
    other = generator.gamma(9, size=50).round(1)  # with ties
    names = np.arange(50).astype(np.str_)
    searches = ModelSearches(np.ones(1), names[:1], other, names, names, gallery_subjects=50)
    for fpir in (0.06, 0.1, 0.33):
        assert Ranked(other).threshold(fpir) == pytest.approx(open_set(searches, fpir).threshold)


def test_drawn_thresholds_are_those_of_the_drawn_searches():
    other = np.random.default_rng(3).gamma(9, size=30)
    ranked = Ranked(other)
    weights = np.random.default_rng(4).multinomial(30, np.full(30, 1 / 30), size=20)
    found = ranked.thresholds(0.2, weights)
    for drawn, threshold in zip(weights, found, strict=True):
        repeated = np.repeat(ranked.distances, drawn)
        assert np.mean(repeated < threshold) <= 0.2
        assert np.mean(repeated <= repeated[repeated > threshold].min()) > 0.2


def test_a_rate_that_rounds_to_every_search_lets_the_last_one_be():
    ranked = Ranked(np.arange(1.0, 101.0))
    assert ranked.threshold(1 - 1e-12) == 99.5
    drawn = np.ones((2, 100), np.int64)
    assert ranked.thresholds(1 - 1e-12, drawn).tolist() == [99.5, 99.5]


def test_an_interval_is_wider_when_walks_of_a_subject_agree():
    wrong = np.repeat(np.random.default_rng(5).random(40) < 0.3, 5)
    alone = bootstrap(np.arange(200), share(wrong))
    together = bootstrap(np.repeat(np.arange(40), 5), share(wrong))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert together.low < wrong.mean() < together.high


def test_the_mean_of_the_nearest_leaves_out_the_probe_itself():
    distances = np.array([[np.inf, 3.0, 1.0], [2.0, np.inf, np.inf], [np.inf] * 3])
    np.testing.assert_array_equal(aggregate(distances, 2), [2.0, 2.0, np.inf])


def test_the_command_says_what_the_threshold_promises(tmp_path, capsys):
    filled(tmp_path, *people(12)).close()
    parser = argparse.ArgumentParser()
    configure(parser)
    assert run(parser.parse_args(["--data", str(tmp_path), "--fpir", "0.25"])) == 0
    printed = capsys.readouterr().out
    assert "Match at a distance up to" in printed
    assert "Strangers named: 25.00% of 36 searches of 12 subjects" in printed


def test_a_calibration_is_forgotten_also_in_a_running_service(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    configure(parser)
    forget = parser.parse_args(["--data", str(tmp_path), "--forget"])
    with closing(filled(tmp_path, *people(12))) as gallery:
        assert run(parser.parse_args(["--data", str(tmp_path), "--fpir", "0.25"])) == 0
        assert gallery.calibration() is not None
        assert run(forget) == 0
        assert "main decides by its model's default again" in capsys.readouterr().out
        assert gallery.calibration() is None
        assert run(forget) == 0
        assert "Nothing to do" in capsys.readouterr().out


def test_no_subject_is_split_between_two_chunks():
    names = [f"s{number // 4}" for number in range(20)]

    def chunk(part):
        rows = np.arange(20)[part]
        return Chunk(rows, np.zeros((len(rows), 2), np.float32), names[part], names[part])

    parts = list(whole_subjects(chunk(slice(at, at + 3)) for at in range(0, 20, 3)))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(20))
    seen = [name for part in parts for name in dict.fromkeys(part.subjects)]
    assert seen == ["s0", "s1", "s2", "s3", "s4"]
