"""The check of the walkers: a short run of it, and whether it sees what it looks for."""

from dataclasses import replace

import numpy as np
import pytest

from model.walkers import WalkerSettings, render_walks
from model.walkers.check import BANDS, band_findings
from model.walkers.features import (
    Features,
    Walks,
    features_of,
    found,
    scalar_distances,
)
from model.walkers.finding import Finding
from model.walkers.generate import Casting, draw_subject
from model.walkers.leaks import (
    ablation_findings,
    leak_findings,
    repetition_findings,
    worker_findings,
)

SUBJECTS = range(1, 5)
SHORT = WalkerSettings(frames=5)
NORMAL = tuple(f"nm-0{number}" for number in range(1, 7))


@pytest.fixture(scope="module")
def walks() -> Walks:
    return features_of(SUBJECTS, SHORT, conditions=(*NORMAL, "cl-01"), views=(0, 90))


def test_a_short_check_finds_nothing_wrong(walks: Walks) -> None:
    findings = [
        *leak_findings(walks, SUBJECTS, SHORT),
        *repetition_findings(walks, SUBJECTS, SHORT),
        *worker_findings(SUBJECTS, SHORT),
    ]
    # The levels are those of 50 people; four tell by chance what fifty do not.
    strict = [f for f in findings if "names the subject" not in f.what and "(%)" not in f.what]
    assert len(findings) == 8
    assert len(strict) == 3
    assert all(finding.good for finding in strict)
    assert all(0 <= finding.measured <= 100 for finding in findings)


def test_body_and_motion_each_tell_people_apart() -> None:
    settings = WalkerSettings(frames=12, noise=0)
    motion, shape = ablation_findings(range(1, 4), settings)
    assert motion.what.startswith("motion alone")
    assert motion.low == shape.low == 100
    assert min(motion.measured, shape.measured) > 50


def test_a_casting_takes_body_and_clothes_or_the_way_of_walking() -> None:
    settings = WalkerSettings(frames=4, noise=0)
    own = render_walks(2, "nm-01", (90,), settings)[90]
    same = render_walks(2, "nm-01", (90,), settings, casting=Casting(body_of=2, style_of=2))[90]
    assert np.array_equal(own, same)
    for casting in (Casting(body_of=3), Casting(style_of=3)):
        assert not np.array_equal(
            own, render_walks(2, "nm-01", (90,), settings, casting=casting)[90]
        )
    mixed = draw_subject(2, settings, Casting(body_of=3))
    assert mixed.body == draw_subject(3, settings).body
    np.testing.assert_array_equal(
        mixed.style.departure.offset, draw_subject(2, settings).style.departure.offset
    )


def planted(**leak: float) -> list[Features]:
    """Three walks each of four people; `leak` says how far a number follows the subject."""
    generator = np.random.default_rng(0)
    base = Features(np.zeros(4, np.float32), "", 30, 100.0, 0.5)
    return [
        replace(base, **{name: generator.random() + by * subject for name, by in leak.items()})
        for subject in range(4)
        for _ in range(3)
    ]


def test_a_planted_leak_is_seen() -> None:
    subjects = [place // 3 for place in range(12)]
    for name in ("frames", "height"):
        distance = scalar_distances(lambda walk, name=name: getattr(walk, name))
        rates = []
        for by in (0.0, 5.0):
            some = planted(**{name: by})
            probes, gallery = some[::3], some[1::3] + some[2::3]
            rates.append(
                found(distance(probes, gallery), subjects[::3], subjects[1::3] + subjects[2::3])
            )
        assert rates[1] == 100.0
        assert rates[0] < 100.0


def test_a_tie_is_worth_the_share_of_own_samples_in_it() -> None:
    distances = np.array([[1.0, 1.0, 1.0, 2.0], [3.0, 0.0, 3.0, 3.0]], np.float32)
    assert found(distances, [7, 7], [7, 8, 8, 7]) == pytest.approx(100 * (1 / 3 + 0) / 2)


def test_phases_are_apart_around_the_circle() -> None:
    near, far = (replace(planted(frames=0)[0], phase=phase) for phase in (0.05, 0.95))
    distance = scalar_distances(lambda walk: walk.phase, 1.0)
    assert distance([near], [far])[0, 0] == pytest.approx(0.1)


def test_a_walk_that_is_there_twice_or_is_not_repeated_is_seen(walks: Walks) -> None:
    copied = {**walks, (2, "nm-01", 90): walks[1, "nm-01", 90]}
    changed, twice = repetition_findings(copied, SUBJECTS, SHORT)
    assert (changed.measured, twice.measured) == (1, 1)
    assert not changed.good
    assert not twice.good


def test_bands_and_the_order_of_conditions_are_judged() -> None:
    inside = {
        "NM": dict(zip(range(0, 181, 18), [97, 56, 20, *[13] * 7, 52], strict=True)),
        "BG": dict.fromkeys(range(0, 181, 18), 78),
        "CL": dict.fromkeys(range(0, 181, 18), 21),
    }
    findings = band_findings(inside)
    assert len(findings) == len(BANDS) + 1
    assert all(finding.good for finding in findings)
    turned = {**inside, "CL": dict.fromkeys(range(0, 181, 18), 80)}
    assert [finding.good for finding in band_findings(turned)][-2:] == [False, False]


def test_a_line_says_ok_or_fail_and_what_was_expected() -> None:
    assert Finding("a rate (%)", 3.0, 0, 5).line(12) == (
        "ok    a rate (%)        3.00  expected 0 to 5"
    )
    assert Finding("walks", 2, 0, 0).line(5).startswith("FAIL  walks")
    assert Finding("walks", 2, 0, 0).line(5).endswith("expected 0")
