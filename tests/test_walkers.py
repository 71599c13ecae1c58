import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.dataset import open_packed
from model.errors import ConfigError, DatasetError
from model.silhouettes import PREPROCESSING_ID, align
from model.walkers import (
    CONDITIONS,
    VIEWS,
    WalkerSettings,
    packed_walk,
    render_walk,
    render_walks,
    write_casia_b,
    write_packed,
)
from model.walkers import command as walkers_command
from model.walkers.check import gei_rates
from model.walkers.generate import draw_subject
from model.walkers.kinematics import ANGLES
from model.walkers.outfits import draw_outfit
from model.walkers.render import fill, hulls
from model.walkers.rings import RING_POINTS
from model.walkers.sheet import write_sheet
from tests.disks import file_size_limit

SHORT = WalkerSettings(frames=6)
CLEAN = WalkerSettings(frames=6, noise=0)


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    walkers_command.configure(parser)
    return parser.parse_args(arguments)


def overlap(first, second):
    """Intersection over union of two walks' pixels."""
    return np.logical_and(first, second).sum() / np.logical_or(first, second).sum()


def test_a_walk_is_a_stack_of_binary_masks():
    walk = render_walk(1, "nm-01", 90, SHORT)
    assert walk.shape == (6, 240, 320)
    assert walk.dtype == np.uint8
    assert set(np.unique(walk)) == {0, 255}


def test_the_same_seed_gives_the_same_bits_in_any_order():
    alone = render_walk(2, "bg-01", 36, SHORT)
    render_walk(5, "cl-02", 108, SHORT)
    among = render_walks(2, "bg-01", (180, 36, 0), SHORT)
    assert np.array_equal(alone, among[36])


def test_varied_walks_are_as_repeatable_as_plain_ones():
    varied = SHORT.varied()
    first, second = (render_walk(2, "nm-01", 54, varied) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, render_walk(2, "nm-01", 54, SHORT))


@pytest.mark.parametrize(
    "other",
    [(1, "nm-02", 90, 0), (2, "nm-01", 90, 0), (1, "nm-01", 90, 1), (1, "cl-01", 90, 0)],
    ids=["another session", "another subject", "another seed", "another condition"],
)
def test_other_walks_differ(other):
    subject, condition, view, seed = other
    first = render_walk(1, "nm-01", 90, CLEAN)
    second = render_walk(subject, condition, view, replace(CLEAN, seed=seed))
    assert overlap(first, second) < 0.95


def test_more_frames_do_not_change_who_walks():
    first = draw_subject(3, SHORT)
    second = draw_subject(3, replace(SHORT, frames=60, noise=2.0))
    assert first.body == second.body
    assert np.array_equal(first.style.departure.offset, second.style.departure.offset)


def test_views_show_the_same_instants():
    # The feet are apart and together at the same time, whichever camera looks.
    walks = render_walks(4, "nm-01", (72, 108), replace(CLEAN, frames=20))
    spread = [align(walk).silhouettes[:, 44:].any(axis=1).sum(axis=1) for walk in walks.values()]
    together = np.corrcoef(spread[0], spread[1])[0, 1]
    apart = np.corrcoef(spread[0][:-5], spread[1][5:])[0, 1]
    assert together > 0.9
    assert apart < 0.5


def test_bodies_stand_upright_and_face_left_at_90_degrees():
    walk = render_walk(1, "nm-01", 90, CLEAN)
    rows, columns = (np.nonzero(walk.any(axis=axes))[0] for axes in ((0, 2), (0, 1)))
    assert 90 < rows[-1] - rows[0] < 140
    centres = [np.nonzero(mask)[1].mean() for mask in walk]
    assert all(np.diff(centres) < 0), "the walker moves to the left"
    assert columns[0] > 0


def test_walkers_grow_when_they_come_and_shrink_when_they_leave():
    settings = replace(CLEAN, frames=20)
    walks = render_walks(1, "nm-01", (0, 180), settings)
    coming, leaving = ((walks[view] > 0).sum(axis=(1, 2)) for view in (0, 180))
    assert coming[-1] > 1.2 * coming[0]
    assert leaving[-1] < 0.9 * leaving[0]


@pytest.mark.parametrize("condition", ["nm-01", "bg-01", "cl-01"])
def test_clean_masks_are_one_body_inside_the_picture(condition):
    for walk in render_walks(3, condition, VIEWS, CLEAN).values():
        for mask in walk:
            count, _, _, _ = cv2.connectedComponentsWithStats(mask)
            assert count == 2
            inside = mask[1:-1, 1:-1]
            assert inside.sum() == mask.sum()


def test_a_whole_walk_crosses_the_picture_without_leaving_it():
    settings = WalkerSettings(frames=None, noise=0)
    walk = render_walk(2, "nm-01", 90, settings)
    assert 45 < len(walk) < 130
    assert not walk[:, :, [0, -1]].any()
    centres = [np.nonzero(mask)[1].mean() for mask in walk[[0, -1]]]
    assert centres[0] - centres[1] > 200
    # However seldom a frame is taken, one shows the walker.
    assert len(render_walk(2, "nm-01", 90, WalkerSettings(frames=None, noise=0, fps=0.1))) == 1


def test_noise_changes_some_pixels_and_keeps_one_large_body():
    clean = render_walk(3, "nm-01", 72, CLEAN)
    noisy = render_walk(3, "nm-01", 72, SHORT)
    assert 0.6 < overlap(clean, noisy) < 0.99
    for mask in noisy:
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
        assert areas[-1] > 0.5 * areas.sum()


def test_varied_cameras_keep_a_body_in_every_frame():
    varied = SHORT.varied()
    for subject in range(1, 5):
        walk = packed_walk(subject, "nm-01", 18 * subject, varied)
        assert len(walk) == 6


def test_nm_walks_share_clothes_and_bg_adds_only_a_bag():
    clothes = draw_outfit(0, 1, "nm-01")
    assert clothes == draw_outfit(0, 1, "nm-06")
    bag = draw_outfit(0, 1, "bg-02")
    assert bag.bag is not None
    assert replace(bag, bag=None) == clothes
    coat = draw_outfit(0, 1, "cl-01")
    assert coat.coat is not None
    assert (coat.trousers, coat.sole) == (clothes.trousers, clothes.sole)


def test_style_departs_from_the_mean_for_every_angle_and_side():
    departure = draw_subject(1, SHORT).style.departure
    assert departure.offset.shape == departure.gain.shape == (2, len(ANGLES))
    assert not np.allclose(departure.harmonics[0], departure.harmonics[1])


def test_hulls_equal_those_of_opencv():
    rng = np.random.default_rng(0)
    turn = np.linspace(0, 2 * np.pi, RING_POINTS, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    centres = rng.uniform(30, 70, (2, 3, 1, 2))
    rings = (centres + rng.uniform(5, 20, (2, 3, 1, 2)) * circle).astype(np.float32)
    pairs = np.array([[0, 1], [1, 2]])
    ours = fill(hulls(rings, pairs), (100, 100))
    for frame, mask in zip(rings, ours, strict=True):
        naive = np.zeros((100, 100), np.uint8)
        for pair in pairs:
            points = np.rint((frame[pair].reshape(-1, 2) - 0.5) * 8).astype(np.int32)
            cv2.fillConvexPoly(naive, cv2.convexHull(points), 255, cv2.LINE_8, 3)
        assert overlap(mask, naive) > 0.97


def test_casia_b_tree_is_laid_out_like_the_data_set(tmp_path):
    write_casia_b(tmp_path, range(1, 3), SHORT, conditions=("nm-01", "cl-01"), views=(0, 90))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert len(files) == 2 * 2 * 2 * 6
    assert "0001/nm-01/090/0001-nm-01-090-001.png" in files
    frame = cv2.imread(
        str(tmp_path / "0002/cl-01/000/0002-cl-01-000-006.png"), cv2.IMREAD_UNCHANGED
    )
    assert np.array_equal(frame, render_walk(2, "cl-01", 0, SHORT)[5])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["0001", "0002"]


def test_packed_walks_come_back_as_they_were_made(tmp_path):
    path = tmp_path / "cache"
    write_packed(path, range(3, 5), SHORT, conditions=("nm-01", "bg-01"), views=(0, 90))
    index = json.loads((path / "index.json").read_text())
    silhouettes = np.load(path / "silhouettes.npy", mmap_mode="r", allow_pickle=False)
    assert (index["format"], index["size"]) == ("metagait-packed-1", [64, 44])
    assert index["preprocessing_id"] == PREPROCESSING_ID
    assert silhouettes.shape == (2 * 2 * 2 * 6, 64, 44)
    for sample in index["samples"]:
        walk = packed_walk(int(sample["subject"]), sample["condition"], int(sample["view"]), SHORT)
        stored = silhouettes[sample["start"] : sample["start"] + sample["length"]]
        assert np.array_equal(stored, walk)
    assert [s.subject for s in open_packed(path).samples] == ["0003"] * 4 + ["0004"] * 4


def test_packed_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 2):
        path = tmp_path / str(workers)
        settings = replace(SHORT, frames=3)
        write_packed(
            path, range(1, 4), settings, conditions=("nm-01",), views=(90,), workers=workers
        )
    for name in ("index.json", "silhouettes.npy"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_writers_refuse_what_is_already_there(tmp_path):
    few = {"conditions": ("nm-01",), "views": (90,)}
    (tmp_path / "0001").mkdir()
    with pytest.raises(DatasetError, match="0001 exists"):
        write_casia_b(tmp_path, range(1, 2), SHORT, **few)
    with pytest.raises(DatasetError, match="exists"):
        write_packed(tmp_path / "0001", range(1, 2), SHORT, **few)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"frames": 0}, "frames"),
        ({"fps": 0.0}, "frames a second"),
        ({"frames": 1001}, "frames"),
        ({"fps": float("inf")}, "frames a second"),
        ({"noise": -0.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"camera_variety": 1.5}, "camera_variety"),
        ({"image_size": (20, 20)}, "pixels"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        WalkerSettings(**wrong)


def test_walks_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="nm-01"):
        render_walk(1, "nm-07", 90, SHORT)
    with pytest.raises(ConfigError, match="180 degrees"):
        render_walk(1, "nm-01", 198, SHORT)
    with pytest.raises(ConfigError, match="subject"):
        render_walk(0, "nm-01", 90, SHORT)
    with pytest.raises(ConfigError, match="subjects"):
        write_packed(Path("unused"), range(0), SHORT)


def test_gait_energy_images_find_the_same_view_best():
    rates = gei_rates(range(1, 6), replace(SHORT, frames=5))
    assert set(rates) == {"NM", "BG", "CL"}
    assert rates["NM"][0] > 60
    assert rates["NM"][0] > rates["NM"][90]


def test_command_writes_a_tree_and_a_sheet(tmp_path, capsys):
    data, sheet = tmp_path / "data", tmp_path / "sheet.png"
    few = ("--subjects", "1:1", "--frames", "3", "--conditions", "nm-01", "--views", "90")
    assert walkers_command.run(parse("--output", str(data), "--sheet", str(sheet), *few)) == 0
    assert len(list(data.rglob("*.png"))) == 3
    picture = cv2.imread(str(sheet), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (4 * 132, len(VIEWS) * 92)
    capsys.readouterr()


def test_command_writes_packed_walks(tmp_path, capsys):
    path = tmp_path / "cache"
    few = ("--subjects", "2:3", "--frames", "3", "--conditions", "nm-01", "--views", "0", "90")
    assert walkers_command.run(parse("--output", str(path), "--packed", *few)) == 0
    assert [len(s.silhouettes()) for s in open_packed(path).samples] == [3, 3, 3, 3]
    capsys.readouterr()


def test_command_refuses_what_it_cannot_do(capsys):
    with pytest.raises(ConfigError, match="--output"):
        walkers_command.run(parse())
    for wrong in ("5:2", "0:3", "a:b"):
        with pytest.raises(SystemExit):
            parse("--subjects", wrong)
    assert "expected" in capsys.readouterr().err


def test_conditions_and_views_are_those_of_casia_b():
    assert len(CONDITIONS) == 10
    assert VIEWS == (0, 18, 36, 54, 72, 90, 108, 126, 144, 162, 180)


def test_walkers_that_a_full_disk_cannot_hold_are_an_error(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    sheet.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_sheet(sheet, range(1, 2), SHORT)
    with file_size_limit(10), pytest.raises(OSError, match="File too large"):
        write_casia_b(tmp_path / "walkers", range(1, 2), SHORT, conditions=("nm-01",), views=(90,))
    assert not (tmp_path / "walkers" / "0001").exists()
