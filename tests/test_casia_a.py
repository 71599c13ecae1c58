"""The benchmark on CASIA Dataset A, on walkers in its layout."""

import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.casia_a import (
    CROSS,
    VIEWS,
    Method,
    figures,
    main,
    outcomes,
    row,
    table,
    walks,
)
from model.distances import flat_distances
from model.encoder import Threshold
from model.gei import gait_energy_images
from model.walkers import WalkerSettings, render_walk

ANGLES = {"00": 90, "45": 45, "90": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("casia-a")
    for subject in (1, 2, 3):
        for view, angle in ANGLES.items():
            for number in (1, 2, 3, 4):
                (root / str(subject)).mkdir(exist_ok=True)
                masks = render_walk(subject, f"nm-0{number}", angle, WalkerSettings(frames=3))
                with zipfile.ZipFile(root / str(subject) / f"{view}_{number}.zip", "w") as file:
                    for place, mask in enumerate(masks):
                        file.writestr(f"{place}.png", cv2.imencode(".png", mask)[1].tobytes())
    return root


def test_figures_equal_a_loop(folder: Path) -> None:
    energy = {key: gait_energy_images([walk])[0] for key, walk in walks(folder)}
    assert len(energy) == 3 * 3 * 4
    pairs = [((g, (1, 2, 3, 4)), (p, (1, 2, 3, 4))) for g, p in CROSS]
    rates, mean = figures(energy, pairs, flat_distances)
    for (gallery, probe), rate in zip(CROSS, rates, strict=True):
        known = {key: e for key, e in energy.items() if key[1] == gallery}
        asked = {key: e for key, e in energy.items() if key[1] == probe}
        found = [
            min(known, key=lambda k, e=e: float(np.linalg.norm(known[k] - e)))[0] == key[0]
            for key, e in asked.items()
        ]
        assert rate == pytest.approx(np.mean(found))
    assert mean.value == pytest.approx(np.mean(rates))
    assert mean.low <= mean.value <= mean.high


def test_the_table_has_two_rows_a_model_and_keeps_its_columns(folder: Path) -> None:
    methods = [Method(name, 64, (64, 44), gait_energy_images) for name in ("a", "b")]
    lines = table(folder, methods).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][1:5] == [*VIEWS, "mean"]
    assert cells[0][5:11] == ["00→45", "45→00", "45→90", "90→45", "00→90", "mean"]
    names = [line[0] for line in cells[2:]]
    assert names == ["GEI nearest neighbour", "a", "a, mean part L2", "b", "b, mean part L2"]
    assert cells[2][1:] == cells[3][1:]
    assert {len(line) for line in cells} == {13}


def test_everybody_is_found_where_nobody_is_alike() -> None:
    far = {
        (name, view, number): np.array([100.0 * place + number], np.float32)
        for place, name in enumerate("abc")
        for view in VIEWS
        for number in (1, 2, 3, 4)
    }
    assert row("far", far).count("100.0 to 100.0") == 2


def test_three_outcomes_of_people_at_known_distances() -> None:
    # People stand 10 apart on a line, a view moves each by 1 and a pass by 0.1.
    placed = {
        (name, view, number): np.array([10 * place + side + number / 10], np.float32)
        for place, name in enumerate("abc")
        for side, view in enumerate(VIEWS)
        for number in (1, 2, 3, 4)
    }
    threshold = Threshold(0.5, 0.01, 0.1, 3, 300, "made up", inconclusive_to=1.05)
    lines = outcomes(placed, threshold).splitlines()[2:]
    known, same, cross, strangers = (line.strip("| ").split(" | ")[1:] for line in lines)
    assert known == ["18", "100.0", "0.0", "0.0", "0.0", "0.0"]
    assert same == ["18", "100.0", "0.0", "0.0", "0.0", "0.0"]
    # The nearest of four passes one view away is 0.7 to 1 away; two views away it is too far.
    assert cross == ["60", "0.0", "80.0", "0.0", "20.0", "0.0"]
    assert strangers == ["36", "0.0", "0.0", "0.0", "100.0", "0.0"]
    wide = outcomes(placed, replace(threshold, distance=20.0, inconclusive_to=None))
    assert wide.splitlines()[-1].endswith("| 36 | 0.0 | 0.0 | 0.0 | 0.0 | 100.0 |")


def test_of_two_people_who_are_as_near_none_is_named() -> None:
    # Two people walk alike, 1 apart.
    placed = {
        (name, view, number): np.array([place + number / 100], np.float32)
        for place, name in enumerate("ab")
        for view in VIEWS
        for number in (1, 2, 3, 4)
    }
    threshold = Threshold(50.0, 0.01, 0.1, 3, 300, "made up", inconclusive_to=52.0)
    for label, limits, match, unsure in (
        ("as near", threshold, "0.0", "100.0"),
        ("less near", replace(threshold, inconclusive_to=None), "100.0", "0.0"),
    ):
        line = outcomes(placed, limits).splitlines()[2]
        assert line.strip("| ").split(" | ")[1:4] == ["12", match, unsure], label


def test_a_folder_that_is_not_there_shows_how_it_is_used() -> None:
    with pytest.raises(SystemExit, match="FOLDER"):
        main(["nowhere"])
