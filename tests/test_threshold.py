"""The threshold that an exported model brings along."""

from collections.abc import Sequence

import numpy as np
import pytest

from gallery import calibration
from model.dataset import Dataset, Sample
from model.errors import DatasetError
from model.threshold import BAND, allowed, calibrate


class Place:
    """A sample whose walk is one number, the place of its embedding on a line."""

    def __init__(self, place: float) -> None:
        self.place = place

    def read(self) -> np.ndarray:
        return np.full((1, 64, 44), self.place, np.uint8)


def line(places: dict[str, dict[str, list[int]]]) -> Dataset:
    """Samples by subject, condition and view."""
    return Dataset(
        tuple(
            Sample(subject, condition, f"{view:03d}", 1, Place(place))
            for subject, conditions in places.items()
            for condition, views in conditions.items()
            for view, place in enumerate(views)
        )
    )


def on_the_line(walks: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([[walk[0, 0, 0]] for walk in walks], np.float32)


def test_the_threshold_stops_short_of_the_first_stranger_too_many() -> None:
    # Ten people 10 apart and two walks each; only the last two come as near as 4 to each other.
    people = {f"{n}": {"nm-01": [10 * n], "bg-01": [10 * n + 1]} for n in range(1, 10)}
    people["x"] = {"nm-01": [95], "bg-01": [95]}
    found = calibrate(on_the_line, line(people), target_fpir=0.15)
    assert found.searches == 20
    assert allowed(20, 0.15) == 0
    assert found.distance == pytest.approx(4)
    assert found.distance < 4
    assert found.gallery_subjects == 9
    assert found.fnir == 0.0
    # At three times the target four walks may be named: three are at 4, one at 5, the others at 9.
    assert allowed(20, 0.45) == 4
    assert found.inconclusive_to == pytest.approx(9)
    assert found.inconclusive_to is not None
    assert found.inconclusive_to < 9
    wider = calibrate(on_the_line, line(people), target_fpir=0.36)
    assert allowed(20, 0.36) == 3
    assert wider.distance == pytest.approx(5)
    assert wider.inconclusive_to == pytest.approx(9)


def test_the_band_never_ends_before_the_threshold() -> None:
    people = {f"{n}": {"nm-01": [10 * n], "bg-01": [10 * n + 1]} for n in range(1, 11)}
    found = calibrate(on_the_line, line(people), target_fpir=0.7)
    # Three times that is no rate, and nobody promises more than one in two: there is no band.
    assert found.inconclusive_to == found.distance == pytest.approx(9)


def test_the_band_is_as_wide_as_a_calibrated_gallerys() -> None:
    assert BAND == calibration._BAND


def test_the_cameras_of_a_walk_count_once() -> None:
    people = {f"{n}": {"nm-01": [10 * n, 10 * n + 2]} for n in range(1, 21)}
    with pytest.raises(DatasetError, match="two conditions"):  # nobody missed is not the same
        calibrate(on_the_line, line(people), target_fpir=0.15)
    people["1"]["bg-01"] = [10]
    found = calibrate(on_the_line, line(people), target_fpir=0.15)
    assert found.searches == 21
    assert found.distance == pytest.approx(8)


def test_mated_searches_are_those_of_other_conditions() -> None:
    people = {f"{n}": {"nm-01": [20 * n, 20 * n], "cl-01": [20 * n + 7]} for n in range(1, 12)}
    people["1"]["cl-01"] = [22]
    found = calibrate(on_the_line, line(people), target_fpir=0.15)
    assert found.distance == pytest.approx(13)
    assert found.fnir == 0.0
    strict = calibrate(
        on_the_line, line({"0": {"nm-01": [15], "cl-01": [2]}, **people}), target_fpir=0.15
    )
    assert strict.distance == pytest.approx(5)
    # Only the subject at 20 and 22 is near enough to itself: 3 of 35 samples.
    assert strict.fnir == pytest.approx(32 / 35)


def test_too_few_walks_are_refused() -> None:
    few = line({f"{n}": {"nm-01": [10 * n]} for n in range(20)})
    with pytest.raises(DatasetError, match="at least 299 independent"):
        calibrate(on_the_line, few, target_fpir=0.01)
    with pytest.raises(DatasetError, match="two subjects"):
        calibrate(on_the_line, line({"a": {f"nm-{n}": [n] for n in range(30)}}), target_fpir=0.3)


@pytest.mark.parametrize(
    ("walks", "target", "named"),
    [(298, 0.01, None), (299, 0.01, 0), (473, 0.01, 1), (600, 0.01, 1), (628, 0.01, 2)],
)
def test_how_many_may_be_named_is_the_binomial_bound(
    walks: int, target: float, named: int | None
) -> None:
    assert allowed(walks, target) == named
