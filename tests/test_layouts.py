"""Layouts: what is read from each, and the report of what is wrong or missing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.dataset import Report, layout_of, pack
from model.dataset.layouts import CASIA_B, OU_MVLP
from model.dataset.raw import in_order
from model.errors import DatasetError
from model.silhouettes import align
from tests.datasets import body, png, walk, write_sample
from tests.layouts import (
    as_archives,
    as_casia_b,
    as_ou_mvlp,
    as_ou_mvlp_tree,
    packed_tree,
    tree,
)

SIZES = ((64, 44), (128, 88))
EMPTY_FRAME = np.zeros((80, 100), np.uint8)


LAYOUTS = {
    "tree": tree,
    "casia-b": as_casia_b,
    "casia-b-tar": as_archives,
    "oumvlp": as_ou_mvlp,
    "oumvlp-tree": as_ou_mvlp_tree,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "write"), LAYOUTS.items())
def test_a_cache_holds_the_aligned_frames_of_every_layout(
    name: str,
    write: Callable[[Path], dict[str, list[np.ndarray]]],
    size: tuple[int, int],
    tmp_path: Path,
) -> None:
    root = tmp_path / "raw"
    samples = write(root)
    assert layout_of(root).name == name
    dataset = packed_tree(root, tmp_path / "packed", size)
    assert dataset.size == size
    assert sorted(sample.name for sample in dataset.samples) == sorted(samples)
    for sample in dataset.samples:
        expected = align(samples[sample.name], size).silhouettes
        np.testing.assert_array_equal(sample.silhouettes(), expected)
        assert sample.length == len(expected)
    missing, subjects = dataset.report.missing, dataset.report.missing_subjects
    assert dataset.report == Report(missing=missing, missing_subjects=subjects)


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    as_archives(tmp_path / "raw")
    layout = layout_of(tmp_path / "raw")
    told: list[str] = []
    for workers in (1, 2):
        pack(
            layout.scan(tmp_path / "raw"),
            tmp_path / str(workers),
            (64, 44),
            layout=layout,
            workers=workers,
            progress=told.append,
        )
    assert told == ["001.tar.gz", "002.tar.gz"] * 2
    for name in ("index.json", "silhouettes.npy"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_everything_that_is_wrong_with_a_tree_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    tree(root)
    (root / "ann" / "walk" / "front" / "ann-walk-front-005.png").write_bytes(b"no picture")
    (root / "bob" / "coat" / "side").mkdir(parents=True)
    write_sample(root, "bob/coat/front", [body()] * 3)
    broken = write_sample(root, "cy/coat/front", [body()])
    whole = png(body())
    next(broken.iterdir()).write_bytes(whole[: len(whole) // 2])
    write_sample(root, "cy/coat/side", [EMPTY_FRAME] * 20)
    write_sample(root, "dee/walk/front", [EMPTY_FRAME, *walk()])
    (root / "dee" / "walk" / "front" / "Thumbs.db").write_bytes(b"")
    (root / "readme.txt").write_text("hello")
    (root / "eve").mkdir()

    report = packed_tree(root, tmp_path / "packed").report

    assert report == Report(
        missing=("ann/coat/front", "ann/coat/side", *(f"dee/{x}" for x in DEE_LACKS)),
        empty=("bob/coat/side (no picture)", "cy/coat/side (no body in 20 pictures)"),
        short=("bob/coat/front (3 frames)",),
        broken=(
            "ann/walk/front/ann-walk-front-005.png "
            "(expected a PNG file, got 10 bytes of something else)",
            "cy/coat/front/cy-coat-front-001.png (expected a whole PNG file, got a damaged one)",
            "cy/coat/front (none of its 1 pictures can be read)",
        ),
        partial=("dee/walk/front (1 of 17 frames: empty)",),
        ignored=("eve/ (no <type>/<view> in it)", "readme.txt", "dee/walk/front/Thumbs.db"),
    )
    lines = report.lines(shown=1)
    assert "5 missing: ann/coat/front, …" in lines
    assert "1 with frames that show no whole body: dee/walk/front (1 of 17 frames: empty)" in lines


def test_an_empty_sample_of_an_id_with_spaces_is_not_missing_as_well(tmp_path: Path) -> None:
    for name in ("ann lee", "bob (2)"):
        for view in ("front", "side"):
            write_sample(tmp_path / "raw", f"{name}/walk/{view}", walk())
    for name in ("ann lee", "bob (2)"):
        shutil.rmtree(tmp_path / "raw" / name / "walk" / "side")
        (tmp_path / "raw" / name / "walk" / "side").mkdir()
    report = packed_tree(tmp_path / "raw", tmp_path / "packed").report
    assert report.empty == ("ann lee/walk/side (no picture)", "bob (2)/walk/side (no picture)")
    assert report.missing == ()


DEE_LACKS = ("coat/front", "coat/side", "walk/side")


def test_a_broken_picture_costs_one_frame(tmp_path: Path) -> None:
    frames = walk()
    folder = write_sample(tmp_path / "raw", "ann/walk/front", frames)
    (folder / "ann-walk-front-005.png").write_bytes(b"no picture")
    (sample,) = packed_tree(tmp_path / "raw", tmp_path / "packed").samples
    np.testing.assert_array_equal(sample.silhouettes(), align(frames[:4] + frames[5:]).silhouettes)


def test_known_datasets_are_held_to_what_they_promise(tmp_path: Path) -> None:
    as_casia_b(tmp_path / "casia")
    (tmp_path / "casia" / "005" / "nm-01" / "000").mkdir(parents=True)
    report = packed_tree(tmp_path / "casia", tmp_path / "a").report
    assert len(report.missing_subjects) == 121
    assert "005" not in report.missing_subjects
    assert len(report.missing) == 3 * 110 - 4 - 1
    assert report.empty == ("005/nm-01/000 (no picture)",)

    as_ou_mvlp(tmp_path / "ou")
    for name in ("ou", "ou-in-order"):
        report = packed_tree(tmp_path / name, tmp_path / f"packed-{name}").report
        assert len(report.missing_subjects) == 10_305
        assert len(report.missing) == 2 * 28 - 8
    assert (len(CASIA_B.views), len(OU_MVLP.views)) == (11, 14)


def test_a_tree_that_is_no_grid_misses_nothing(tmp_path: Path) -> None:
    for number in range(4):
        write_sample(tmp_path / "raw", f"s{number}/day{number}/view{number}", walk())
    assert packed_tree(tmp_path / "raw", tmp_path / "packed").report == Report()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: 255 - frame, "black on white?"),
        (lambda frame: (frame == 0).astype(np.uint8), "black on white?"),
        (lambda frame: np.where(frame > 0, 160, 60).astype(np.uint8), "photographs?"),
        (lambda frame: frame, ""),
        (lambda frame: frame // 255, ""),
        # Cut out to the body, which then touches the edge of the picture.
        (lambda frame: frame[18:58, 30:50], ""),
    ],
)
def test_what_does_not_look_like_silhouettes_is_listed(
    change: Callable[[np.ndarray], np.ndarray], said: str, tmp_path: Path
) -> None:
    write_sample(tmp_path / "raw", "ann/walk/front", [change(frame) for frame in walk()])
    report = packed_tree(tmp_path / "raw", tmp_path / "packed").report
    assert report.doubtful == ((f"ann/walk/front ({said})",) if said else ())


def test_frames_without_leading_zeros_are_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "ann" / "walk" / "front"
    folder.mkdir(parents=True)
    frames = walk(length=12)
    for number, frame in enumerate(frames, start=1):
        (folder / f"{number}.png").write_bytes(png(frame))
    (sample,) = packed_tree(tmp_path / "raw", tmp_path / "packed").samples
    np.testing.assert_array_equal(sample.silhouettes(), align(frames).silhouettes)
    assert sorted(["a10", "a9", "10b", "b1"], key=in_order) == ["10b", "a9", "a10", "b1"]
    assert in_order("a007") == in_order("a7")
    assert in_order("0") < in_order("001")
    assert in_order("9" * 5000) < in_order("1" + "0" * 5000)  # archives can hold such names


def test_names_that_are_not_utf_8_are_listed_in_a_form_that_can_be_printed(tmp_path: Path) -> None:
    tree(tmp_path / "raw")
    latin = os.fsdecode(b"J\xfcrgen")
    try:
        write_sample(tmp_path / "raw", f"{latin}/walk/front", walk())
        (tmp_path / "raw" / "ann" / "walk" / "front" / f"{latin}.txt").touch()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such names")
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert dataset.subjects == ("ann", "bob", "cy")
    assert dataset.report.ignored == (
        "J\\udcfcrgen/ (a name that is not UTF-8)",
        "ann/walk/front/J\\udcfcrgen.txt",
    )


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="not there"):
        layout_of(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"001\.tar\.gz.*Silhouette_.*got an empty folder"):
        layout_of(tmp_path / "empty")
    with pytest.raises(DatasetError, match="got empty/"):
        layout_of(tmp_path)
    with pytest.raises(DatasetError, match="'casia-c'"):
        layout_of(tmp_path, "casia-c")
    with pytest.raises(DatasetError, match="oumvlp"):
        layout_of(tmp_path, "oumvlp")
    as_casia_b(tmp_path / "raw")
    with pytest.raises(DatasetError, match=r"expected a size .* got \(10, 10\)"):
        packed_tree(tmp_path / "raw", tmp_path / "packed", (10, 10))


def test_an_empty_folder_beside_the_subjects_does_not_hide_what_casia_b_is(tmp_path: Path) -> None:
    as_casia_b(tmp_path / "raw")
    (tmp_path / "raw" / "GEI").mkdir()
    assert layout_of(tmp_path / "raw").name == "casia-b"
    write_sample(tmp_path / "raw", "125/nm-01/090", walk())
    assert layout_of(tmp_path / "raw").name == "tree"


@pytest.mark.parametrize("write", [as_casia_b, as_archives, as_ou_mvlp, as_ou_mvlp_tree, tree])
def test_a_folder_too_high_is_told_the_one_below(
    write: Callable[[Path], dict[str, list[np.ndarray]]], tmp_path: Path
) -> None:
    write(tmp_path / "unzipped" / "data")
    if write is as_ou_mvlp:
        shutil.rmtree(tmp_path / "unzipped" / "data-in-order")
    with pytest.raises(DatasetError, match=r"unzipped; try .*unzipped/data$"):
        layout_of(tmp_path / "unzipped")


@pytest.mark.parametrize(
    ("write", "inside"),
    [(as_casia_b, "001"), (as_ou_mvlp_tree, "00001"), (as_ou_mvlp, "Silhouette_000-00")],
)
def test_a_folder_too_deep_is_told_the_one_above(
    write: Callable[[Path], dict[str, list[np.ndarray]]], inside: str, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    with pytest.raises(DatasetError, match=rf"data/{inside}; try .*/data$"):
        layout_of(tmp_path / "data" / inside)


def test_two_layouts_in_one_folder_must_be_named(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    as_archives(root)
    as_casia_b(root)
    with pytest.raises(DatasetError, match="casia-b and casia-b-tar"):
        layout_of(root)
    dataset = packed_tree(root, tmp_path / "packed", layout="casia-b")
    assert dataset.subjects == ("001", "124")
    assert dataset.report.ignored == ("001.tar.gz", "002.tar.gz")
    assert layout_of(root, "tree").grid is None


def test_a_source_without_any_walk_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path / "raw", "ann/walk/front", [EMPTY_FRAME])
    with pytest.raises(DatasetError, match="no body in 1 pictures"):
        packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
