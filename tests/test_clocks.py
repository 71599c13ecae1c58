"""Clocks add up: what is timed goes on where a clock stood."""

from service.clocks import Clock, Timed


def test_what_making_items_took_is_added_to_a_clock_that_ran_before() -> None:
    clock = Clock(wall_s=1.0, processor_s=0.5)
    timed = Timed(iter(["a", "b"]), clock)
    assert list(timed) == ["a", "b"]
    assert timed.clock is clock
    assert clock.wall_s > 1
    assert clock.processor_s >= 0.5
    alone = Timed(iter("ab"))
    assert next(alone) == "a"
    assert 0 < alone.clock.wall_s < 1


def test_what_is_left_is_never_less_than_nothing() -> None:
    # A part that was added up in pieces may pass the whole by a rounding error.
    left = Clock(0.3, 0.3) - Clock(0.1 + 0.2, 0.1 + 0.2)
    assert (left.wall_s, left.processor_s) == (0, 0)
