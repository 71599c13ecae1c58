"""Training on several groups of walkers, each made in its own way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.caches import training_dataset
from model.config import DataConfig, WalkersConfig, build, plain
from model.dataset import Dataset, Report, Sample, joined
from model.errors import ConfigError, DatasetError
from model.walkers import WalkerSettings

GROUP = WalkersConfig(
    subjects=1, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=4)
)


class Nothing:
    """A source that nobody reads."""

    def read(self) -> NDArray[np.uint8]:
        raise AssertionError("expected joining to read no frame")


def one(subject: str) -> Dataset:
    sample = Sample(subject, "nm-01", "090", 3, Nothing())
    return Dataset((sample,), report=Report(short=(f"{sample.name} (3 frames)",)))


def test_one_group_needs_no_list() -> None:
    alone = build(DataConfig, {"walkers": {"first": 3, "subjects": 2}})
    assert alone == build(DataConfig, {"walkers": [{"first": 3, "subjects": 2}]})
    assert build(DataConfig, plain(alone)) == alone


def test_groups_are_generated_by_themselves_and_trained_on_together(tmp_path: Path) -> None:
    other = replace(GROUP, first=7, settings=WalkerSettings(frames=6))
    dataset = training_dataset(DataConfig(walkers=(GROUP, other)), (64, 44), tmp_path)
    assert dataset.subjects == ("0001", "0007")
    assert [sample.length for sample in dataset.samples] == [4, 6]
    assert len(list((tmp_path / "cache").glob("walkers-*"))) == 2


@pytest.mark.parametrize("groups", [[(1, 5), (5, 2)], [(1, 0)], [(1, 2), (1, 2)]])
def test_a_subject_is_in_one_group(groups: list[tuple[int, int]]) -> None:
    walkers = [{"first": first, "subjects": subjects} for first, subjects in groups]
    with pytest.raises(ConfigError, match="each in one group"):
        build(DataConfig, {"walkers": walkers})


def test_an_unknown_key_in_a_group_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"walkers\[1\].frist: unknown key"):
        build(DataConfig, {"walkers": [{}, {"frist": 3}]})


def test_joined_datasets_keep_samples_and_reports() -> None:
    left, right = one("001"), one("002")
    both = joined([left, right])
    assert both.samples == left.samples + right.samples
    assert both.report.short == ("001/nm-01/090 (3 frames)", "002/nm-01/090 (3 frames)")


def test_datasets_that_do_not_fit_are_not_joined() -> None:
    with pytest.raises(DatasetError, match="each subject in one dataset"):
        joined([one("001"), one("001")])
    with pytest.raises(DatasetError, match="one size"):
        joined([one("001"), replace(one("002"), size=(128, 88))])
    with pytest.raises(DatasetError, match="one size"):
        joined([])
