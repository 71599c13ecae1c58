"""Which samples `metagait evaluate` takes."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.dataset import Dataset, Sample, first_subjects, layout_of
from model.embed import Embedder, open_embedder
from model.encoder import SHIPPED_MODEL
from model.errors import DatasetError, ModelFileError
from model.evaluate import chosen_dataset, configure, subject_range
from model.export import MAX_FRAMES
from model.gei import gait_energy_images
from tests.datasets import numbered, write_cache


class Still:
    """A source of the same picture for some time."""

    def __init__(self, frames: int) -> None:
        self._frames = frames

    def read(self) -> np.ndarray:
        return np.full((self._frames, 64, 44), 255, np.uint8)


def test_subjects_are_chosen_by_their_ends() -> None:
    dataset = numbered("000", "001", "002", "003", "004")
    assert subject_range(dataset, "001:003") == ("001", "002", "003")
    assert subject_range(dataset, "003:") == ("003", "004")
    for wrong in ("003", "9:", ""):
        with pytest.raises(DatasetError, match="A:B"):
            subject_range(dataset, wrong)


def test_what_is_no_model_and_no_dataset_is_called_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, said in ((tmp_path / "nothing", "not there"), (tmp_path / "file", "a file")):
        with pytest.raises(DatasetError, match=f"which is {said}"):
            layout_of(path)
    for path, said in ((tmp_path / "nothing", "not there"), (tmp_path, "a folder")):
        with pytest.raises(ModelFileError, match=f"which is {said}"):
            open_embedder(path)


def test_the_order_of_ids_is_that_of_their_numbers() -> None:
    dataset = numbered(*map(str, range(1, 13)), "s2", "s10")
    assert subject_range(dataset, "2:10") == ("10", "2", "3", "4", "5", "6", "7", "8", "9")
    assert subject_range(dataset, "s2:s9") == ("s2",)
    assert first_subjects(3).train(dataset).subjects == ("1", "2", "3")


def test_samples_too_long_for_one_model_are_left_out_for_all(tmp_path: Path) -> None:
    lengths = {"001": 5, "002": 11, "003": 12}
    samples = [Sample(s, "nm-01", "000", frames, Still(frames)) for s, frames in lengths.items()]
    write_cache(Dataset(tuple(samples)), tmp_path / "packed")
    parser = argparse.ArgumentParser()
    configure(parser)
    arguments = parser.parse_args(["any.onnx", "--data", str(tmp_path / "packed")])
    limitless = Embedder("any", 1, gait_energy_images)
    limited = replace(limitless, max_frames=10)
    dataset, told = chosen_dataset(arguments, [limitless, limited])
    assert dataset.subjects == ("001",)
    assert told == ["2 samples of more than 10 frames, the most that the model takes, left out."]
    assert chosen_dataset(arguments, [limitless])[1] == []
    with pytest.raises(DatasetError, match="3 samples of more than 4 frames"):
        chosen_dataset(arguments, [replace(limitless, max_frames=4)])
    assert open_embedder(SHIPPED_MODEL).max_frames == MAX_FRAMES
