"""The packed cache: written whole or not at all, refused when damaged, made once."""

import argparse
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from metagait import main
from model.caches import BENCHMARK, VALIDATION, packed, training_dataset, walkers_dataset
from model.config import DataConfig, WalkersConfig
from model.dataset import Dataset, PackedWriter, open_packed
from model.errors import ConfigError, DatasetError
from model.pack import configure_packing
from model.silhouettes import PREPROCESSING_ID
from model.walkers import WalkerSettings, packed_walk
from tests.datasets import numbered, walk, write_cache, write_sample
from tests.disks import file_size_limit
from tests.layouts import as_archives, tree
from tests.tiny import noise_dataset

ENTRY = {"subject": "1", "condition": "nm-01", "view": "090", "start": 0, "length": 1}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "other", "format"),
        ("preprocessing_id", "other", "preprocessing"),
        ("size", [128, 88], "silhouettes"),
        ("samples", [{"subject": "1"}], "start"),
        ("samples", [{**ENTRY, "start": -1}], "-1"),
        ("samples", [{**ENTRY, "length": 999}], "999"),
        ("samples", [{**ENTRY, "length": float("inf")}], "inf of them"),
        ("samples", [{**ENTRY, "start": 0.5}], "from 0.5"),
        ("samples", [{**ENTRY, "view": 90}], "90.* names were expected"),
        ("samples", [], "no samples"),
        ("report", {"broken": [1]}, "report"),
        ("report", {"other": []}, "other"),
        ("report", [], "list"),
    ],
)
def test_damaged_caches_are_refused(tmp_path: Path, key: str, value: object, said: str) -> None:
    write_cache(numbered("1", "2"), tmp_path / "packed")
    file = tmp_path / "packed" / "index.json"
    index = json.loads(file.read_text())
    assert index["preprocessing_id"] == PREPROCESSING_ID
    file.write_text(json.dumps({**index, key: value}))
    with pytest.raises(DatasetError, match=said):
        open_packed(tmp_path / "packed")


@pytest.mark.parametrize("name", ["silhouettes.npy", "index.json"])
def test_a_cache_that_was_copied_in_part_is_refused(name: str, tmp_path: Path) -> None:
    write_cache(numbered("1", "2"), tmp_path / "packed")
    file = tmp_path / "packed" / name
    whole = file.read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2, 3, 0):
        file.write_bytes(whole[:kept])
        if name == "index.json" and kept == len(whole) - 1:
            continue  # only the last line's end is missing
        with pytest.raises(DatasetError, match="expected a packed cache in"):
            open_packed(tmp_path / "packed")
    file.unlink()
    with pytest.raises(DatasetError, match="expected a packed cache in"):
        open_packed(tmp_path / "packed")


def test_pickled_silhouettes_are_refused(tmp_path: Path) -> None:
    write_cache(numbered("1"), tmp_path / "packed")
    np.save(tmp_path / "packed" / "silhouettes.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DatasetError):
        open_packed(tmp_path / "packed")


def test_a_cache_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "packed"
    frames = np.zeros((2, 64, 44), np.uint8)

    def interrupted() -> None:
        with PackedWriter(out, (64, 44)) as writer:
            writer.add(("1", "nm-01", "000"), frames)
            assert [path.name for path in tmp_path.iterdir()] == ["packed.part"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "packed.part").mkdir()  # left by a process that was killed
    (tmp_path / "packed.part" / "index.json").write_text("{")
    write_cache(numbered("1"), out)
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
    with pytest.raises(DatasetError, match="exists"):
        write_cache(numbered("1"), out)


def test_the_writer_takes_each_sample_once_and_whole(tmp_path: Path) -> None:
    with PackedWriter(tmp_path / "packed", (64, 44)) as writer:
        with pytest.raises(DatasetError, match="got none"):
            writer.finish()
        writer.add(("1", "nm-01", "000"), np.zeros((2, 64, 44), np.uint8))
        with pytest.raises(DatasetError, match=r"1/nm-01/000.*second"):
            writer.add(("1", "nm-01", "000"), np.zeros((2, 64, 44), np.uint8))
        with pytest.raises(DatasetError, match=r"uint8 \[T, 64, 44\], got float64"):
            writer.add(("1", "nm-01", "018"), np.zeros((2, 64, 44)))


def test_a_cache_that_a_full_disk_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with (
        file_size_limit(1000),
        pytest.raises(OSError, match="File too large"),
        PackedWriter(tmp_path / "packed", (64, 44)) as writer,
    ):
        writer.add(("1", "nm-01", "000"), np.zeros((1, 64, 44), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_raw_dataset_is_packed_once_and_again_when_it_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path / "raw")
    runs = tmp_path / "runs"
    first = packed(tmp_path / "raw", (64, 44), runs)
    assert "packing" in capsys.readouterr().out
    again = packed(tmp_path / "raw", (64, 44), runs)
    assert capsys.readouterr().out == ""
    assert again.samples == first.samples
    write_sample(tmp_path / "raw", "ann/coat/front", walk())
    assert len(packed(tmp_path / "raw", (64, 44), runs).samples) == len(first.samples) + 1
    assert len(list((runs / "cache").glob("raw-*"))) == 2
    # The folders of its samples keep their times, yet these are now somebody else's walks.
    (tmp_path / "raw" / "ann").rename(tmp_path / "raw" / "ana")
    assert packed(tmp_path / "raw", (64, 44), runs).subjects == ("ana", "bob", "cy")


def test_many_who_want_the_same_cache_make_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = WalkersConfig(
        subjects=1, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=3)
    )
    with ThreadPoolExecutor(3) as threads:
        opened = list(
            threads.map(lambda _: walkers_dataset(few, tmp_path, "few").samples, range(3))
        )
    assert opened[0] == opened[1] == opened[2]
    assert capsys.readouterr().out.count("generating") == 1


def test_training_sees_the_half_that_trains(tmp_path: Path) -> None:
    cache = tmp_path / "packed"
    write_cache(numbered("001", "024", "025", "100"), cache)
    for config, subjects in (
        (DataConfig(str(cache), partition="st"), ("001", "024")),
        (DataConfig(str(cache), train_subjects=3), ("001", "024", "025")),
        (DataConfig(str(cache), train_ids=("100", "007")), ("100",)),
        (DataConfig(str(cache)), ("001", "024", "025", "100")),
    ):
        assert training_dataset(config, (64, 44), tmp_path).subjects == subjects
    with pytest.raises(DatasetError, match="--size 128x88"):
        training_dataset(DataConfig(str(cache)), (128, 88), tmp_path)


def test_the_command_packs_reports_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "raw", tmp_path / "packed"
    as_archives(source)
    report = tmp_path / "report.json"
    arguments = ["pack", str(source), str(target), "--size", "128x88", "--workers", "1"]
    assert main([*arguments, "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "4 samples of 2 subjects, 64 frames" in out
    assert "122 missing subjects: 003, 004, 005, 006, 007, …" in out
    told = json.loads(report.read_text())
    assert (told["layout"], told["size"], told["frames"]) == ("casia-b-tar", [128, 88], 64)
    assert len(told["missing_subjects"]) == 122
    assert len(told["missing"]) == 2 * 110 - 4
    assert open_packed(target).size == (128, 88)
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["pack", str(target), str(tmp_path / "again")]) == 2
    assert "packed cache" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(source), str(tmp_path / "new"), "--workers", "0"])
    assert ended.value.code == 2
    assert "--workers: expected a whole number of 1 or more, got '0'" in capsys.readouterr().err


def test_packing_takes_no_more_processes_than_it_may_use_cpus() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        parser = argparse.ArgumentParser()
        configure_packing(parser)
        assert parser.get_default("workers") == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_walkers_that_models_are_judged_by_are_not_trained_on(tmp_path: Path) -> None:
    for kept in (BENCHMARK, VALIDATION):
        overlapping = WalkersConfig(first=kept.first - 5, subjects=6)
        with pytest.raises(ConfigError, match="judged"):
            training_dataset(DataConfig(walkers=(overlapping,)), (64, 44), tmp_path)
    assert BENCHMARK.first >= VALIDATION.first + VALIDATION.subjects


def test_walkers_are_generated_once(tmp_path: Path) -> None:
    few = WalkersConfig(
        subjects=2, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=4)
    )
    first = training_dataset(DataConfig(walkers=(few,)), (64, 44), tmp_path)
    (cache,) = (tmp_path / "cache").glob("walkers-*")
    stamp = cache.stat().st_mtime_ns
    again = training_dataset(DataConfig(walkers=(few,)), (64, 44), tmp_path)
    assert [s.name for s in first.samples] == ["0001/nm-01/090", "0002/nm-01/090"]
    assert first.samples == again.samples
    assert cache.stat().st_mtime_ns == stamp


def test_a_damaged_cache_of_our_own_says_how_it_is_made_again(tmp_path: Path) -> None:
    few = WalkersConfig(
        subjects=1, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=3)
    )
    tree(tmp_path / "raw")
    openers: list[Callable[[], Dataset]] = [
        lambda: walkers_dataset(few, tmp_path / "cache", "few"),
        lambda: packed(tmp_path / "raw", (64, 44), tmp_path),
    ]
    for opened in openers:
        whole = opened().samples
        (cache,) = (folder for folder in (tmp_path / "cache").iterdir() if folder.is_dir())
        (cache / "silhouettes.npy").write_bytes(b"")
        with pytest.raises(DatasetError, match="without this folder it is made again"):
            opened()
        shutil.rmtree(cache)
        assert opened().samples == whole
        shutil.rmtree(cache)


def test_walkers_are_made_at_the_size_of_the_network(tmp_path: Path) -> None:
    few = WalkersConfig(
        subjects=1, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=4)
    )
    for size in ((64, 44), (128, 88)):
        dataset = training_dataset(DataConfig(walkers=(few,)), size, tmp_path)
        assert dataset.size == size
        (sample,) = dataset.samples
        expected = packed_walk(1, "nm-01", 90, few.settings, size=size)
        np.testing.assert_array_equal(sample.silhouettes(), expected)
        assert expected.shape == (4, *size)
    with pytest.raises(DatasetError, match=r"expected a size .* got \(96, 66\)"):
        training_dataset(DataConfig(walkers=(few,)), (96, 66), tmp_path)


def test_a_packed_folder_is_used_as_it_is(tmp_path: Path) -> None:
    write_cache(noise_dataset(), tmp_path / "packed")
    opened = packed(tmp_path / "packed", (64, 44), tmp_path / "runs")
    assert len(opened.samples) == 6
    assert not (tmp_path / "runs").exists()
