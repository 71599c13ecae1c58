"""The progress of a running rebuild, as callers are told it; time passes as the tests say."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from gallery import Job, RebuildStopped
from service.progress import Running

BEGAN = datetime(2026, 3, 1, 8, tzinfo=UTC)
JOB = Job("j", "rebuild", "m", "running", 0, 0, "", BEGAN, BEGAN)


@dataclass
class Time:
    """What both clocks show; the one of the day may be set while the other goes on."""

    seconds: float = 0.0
    set_by: float = 0.0

    def clock(self) -> float:
        return self.seconds

    def today(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds + self.set_by)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def running(time: Time) -> Running:
    return Running(JOB, "local", clock=time.clock, today=time.today)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def test_whoever_watches_a_rebuild_sees_it_move(running: Running, time: Time) -> None:
    seen = []
    for done in (16, 32, 48):
        time.seconds += 0.4  # more often than it is recorded
        running.is_noted_again(done, 96)
        seen.append((running.watched().job.done, running.watched().job.updated_at))
    assert seen == [(16, at(0.4)), (32, at(0.8)), (48, at(1.2))]
    # Nothing is embedded during the check, which takes minutes in a large gallery.
    time.seconds = 100
    running.is_noted_long_ago()
    assert running.watched().job.updated_at == at(100)


def test_the_remaining_time_follows_the_pace_and_runs_down_between_batches(
    running: Running, time: Time
) -> None:
    def eta_s(seconds: float) -> float | None:
        time.seconds = seconds
        return running.watched().eta_s

    assert eta_s(5) is None
    running.is_noted_again(16, 96)
    assert eta_s(7) is None, "one batch has no pace yet"
    time.seconds = 9
    running.is_noted_again(32, 96)  # 16 in 4 seconds
    assert eta_s(9) == 16
    assert eta_s(12) == 13
    assert eta_s(99) == 0, "a batch that takes longer makes no time negative"
    running.is_noted_again(96, 96)
    assert eta_s(100) is None, "how long the check takes cannot be told"


def test_a_clock_that_is_set_back_changes_no_remaining_time(running: Running, time: Time) -> None:
    for seconds, done in ((1, 16), (2, 32)):
        time.seconds = seconds
        running.is_noted_again(done, 64)
    time.set_by = -3600
    assert running.watched().eta_s == 2


def test_it_is_recorded_once_a_second_and_at_its_end_or_stop(running: Running, time: Time) -> None:
    def noted(seconds: float, done: int) -> bool:
        time.seconds = seconds
        return running.is_noted_again(done, 96)

    assert [noted(0.1, 16), noted(0.5, 32), noted(1.2, 48)] == [True, False, True]
    assert noted(1.3, 96)
    running.stopped_as = "cancelled"
    assert noted(1.4, 64), "else the row would stay behind what is embedded"
    with pytest.raises(RebuildStopped, match="stopped at 64 of 96"):
        running.require_wanted()


def test_what_was_embedded_before_a_restart_is_no_pace(time: Time) -> None:
    taken_up = replace(JOB, done=4000, total=8000)
    running = Running(taken_up, "local", clock=time.clock, today=time.today)
    assert running.watched().eta_s is None
    for seconds, done in ((1, 4016), (2, 4032)):
        time.seconds = seconds
        running.is_noted_again(done, 8000)
    assert running.watched().eta_s == (8000 - 4032) / 16
