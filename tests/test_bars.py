"""Progress in a log: ten lines, and no bar."""

import pytest

from gallery.commands import rebuild
from model.bars import progress_bar, progress_count


def test_a_log_gets_a_line_at_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(200, "walk") as advance:
        for item in range(200):
            advance(item)
    told = capsys.readouterr().err
    assert told.splitlines() == [f"{done} of 200 walks" for done in range(20, 201, 20)]


def test_few_things_get_a_line_each_and_many_at_once_a_single_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_count(5, "walk") as advance:
        advance(1)
        advance(4)
        advance(0)
    assert capsys.readouterr().err.splitlines() == ["1 of 5 walks", "5 of 5 walks"]
    with progress_count(5, "walk", shown=False) as advance:
        advance(5)
    assert capsys.readouterr().err == ""


def test_so_does_a_rebuild_that_goes_on_where_it_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with rebuild._bar() as progress:
        for done in range(60, 101):
            progress(done, 100)
        progress(0, 0)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"Embedded {done} of 100 samples" for done in range(60, 101, 10)]
