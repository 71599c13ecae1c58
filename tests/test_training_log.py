"""The log of a training, where an earlier run was interrupted."""

import json
from pathlib import Path

import pytest

from model.progress import Figures, Progress
from tests.disks import file_size_limit

FIGURES = Figures(loss=1.0, triplet=0.5, cross_entropy=0.5, nonzero=0.1, distance=1.2)


def lines(*iterations: int) -> str:
    return "".join(json.dumps({"iteration": number}) + "\n" for number in iterations)


def iterations_in(log: Path) -> list[int]:
    return [json.loads(line)["iteration"] for line in log.read_text().splitlines()]


def test_what_comes_after_the_checkpoint_is_dropped_and_logged_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(lines(20, 40, 60) + '{"iteration": 8')
    Progress(80, log, 40)
    assert iterations_in(log) == [20, 40]


def test_a_line_without_its_end_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(lines(20, 40).removesuffix("\n"))
    Progress(60, log, 40).add(FIGURES, 60)
    assert iterations_in(log) == [20, 40, 60]


def test_a_full_disk_does_not_cost_the_lines_before(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(lines(*range(20, 100, 20)))
    with file_size_limit(10), pytest.raises(OSError, match="File too large"):
        Progress(100, log, 60)
    assert iterations_in(log) == [20, 40, 60, 80]
